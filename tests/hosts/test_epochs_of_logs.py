"""What every reader says of epochs that a log has twice, not at all, or out of order."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vlltr_plugin.hosts import get_host
from vlltr_plugin.runs.log import Log


def _vl_ltr(epochs: Sequence[int]) -> str:
    return "".join(json.dumps({"test_acc1": 50.0, "epoch": epoch}) + "\n" for epoch in epochs)


def _own_loop(epochs: Sequence[int]) -> str:
    return "".join(json.dumps({"epoch": epoch, "overall": 50.0}) + "\n" for epoch in epochs)


def _timm(epochs: Sequence[int]) -> str:
    """A start writes a heading at its first epoch."""
    heading, text = "epoch,train_loss,eval_top1\n", ""
    for place, epoch in enumerate(epochs):
        text += heading * (not place or epoch <= epochs[place - 1]) + f"{epoch},2.0,50.0\n"
    return text


def _lift(epochs: Sequence[int]) -> str:
    said = "epoch [{}/9] batch [1/1] time 1.0 (1.0) data 0.0 (0.0) loss 2.0 (2.0) acc 1 (1) lr 0.1 eta 0:00:01\n"
    return "** Config **\nlr: 0.1\n************\n" + "".join(said.format(epoch + 1) for epoch in epochs)


LOGS: dict[str, tuple[str, Callable[[Sequence[int]], str]]] = {
    "vl-ltr": ("log.txt", _vl_ltr),
    "lift": ("log.txt", _lift),
    "timm": ("summary.csv", _timm),
    "own-loop": ("log.txt", _own_loop),
}


@pytest.fixture(params=LOGS)
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Sequence[int]], Log]:
    name, written = LOGS[request.param]

    def of(epochs: Sequence[int]) -> Log:
        (tmp_path / name).write_text(written(epochs))
        return get_host(request.param).read_log(tmp_path / name)

    return of


Read = Callable[[Sequence[int]], Log]


@pytest.mark.parametrize("written", [(0, 1, 2, 0), (0, 2, 1), (0, 1, 2, 3, 1)])
def test_epochs_that_are_discarded_are_named(written: Sequence[int], read: Read) -> None:
    log = read(written)
    assert list(log.epochs) == list(range(written[-1] + 1))[-len(log.epochs) :]
    assert any("training went back" in warning for warning in log.warnings)
    discarded = set(written) - set(log.epochs)
    assert log.abandoned is None or set(log.abandoned) == discarded


@pytest.mark.parametrize(("written", "missing"), [((0, 1, 9), (2, 8)), ((3, 4, 5), (0, 2)), ((0, 10**15), (1, 10**15))])
def test_epochs_without_a_line_are_named_as_the_log_counts_them(
    written: Sequence[int], missing: tuple[int, int], read: Read
) -> None:
    log = read(written)
    first = log.abandoned is None  # LIFT counts from 1
    low, high = (number + first - (number == 10**15) for number in missing)
    assert [*log.warnings] == [f"{log.path}: no line for epoch {low}-{high}"]


@pytest.mark.parametrize("written", [range(5), (0, 1, 2, 0, 1, 2, 3), (0, 0, 1), (0,)])
def test_whole_runs_and_runs_that_caught_up_are_read_without_a_warning(written: Sequence[int], read: Read) -> None:
    log = read(written)
    assert list(log.epochs) == list(range(max(written) + 1))
    assert not [warning for warning in log.warnings if "training went back" not in warning or log.abandoned is not None]
    assert not log.abandoned


@pytest.mark.parametrize("written", [(0, 5, 10), (4, 9, 14), (1, 2, 3), (2, 4, 6), (1,), (4, 9)])
def test_a_loop_may_record_every_fifth_epoch_or_count_from_1(written: Sequence[int], tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(_own_loop(written))
    assert get_host("own-loop").read_log(tmp_path / "log.txt").warnings == ()


def test_lines_keep_their_epoch(read: Read) -> None:
    assert [line["epoch"] for line in read((0, 1)).epochs.values()] == [0, 1]
