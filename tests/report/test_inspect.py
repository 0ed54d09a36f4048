"""`vlltr-plugin inspect`: numbers against naive loops, names, pictures, refusals, and the size of iNaturalist."""

import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from vlltr_plugin.cli import main
from vlltr_plugin.host.arrays import write_arrays
from vlltr_plugin.report.class_names import class_names
from vlltr_plugin.report.errors import ReportError
from vlltr_plugin.report.inspect.inspection import Inspection, inspect_run
from vlltr_plugin.report.inspect.rank_correlation import rank_correlation
from vlltr_plugin.report.inspect.tables import findings

COUNTS = np.array([300, 120, 100, 99, 50, 21, 20, 9, 4, 2, 1, 0])
DRAWS = np.sqrt(COUNTS) * COUNTS.sum() / np.sqrt(COUNTS).sum()
Write = Callable[..., Path]


def epoch_arrays(rng: np.random.Generator, slope: float = -0.2, **more: Any) -> dict[str, Any]:
    """Radii that fall with class size for a negative slope; the two rarest classes substituted."""
    substituted = (COUNTS > 0) & (COUNTS < 3)
    log_radius = slope * np.log(np.maximum(COUNTS, 1)) + 0.05 * rng.standard_normal(len(COUNTS))
    log_radius[substituted] = log_radius[~substituted].mean()
    weights = np.where(COUNTS > 0, np.exp(log_radius) / np.maximum(DRAWS, 1), 1.0)
    weights[COUNTS > 0] *= DRAWS.sum() / (weights * DRAWS).sum()
    return {
        "counts": COUNTS.astype(float),
        "draws": DRAWS,
        "drawn": DRAWS,
        "weights_image_text": weights.astype(np.float32),
        "next_weights_image_text": weights.astype(np.float32),
        "log_radius_image_text": log_radius,
        "substituted_image_text": substituted,
        **more,
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes epochs as the adapter does; the run's folder."""

    def write(*epochs: dict[str, Any], name: str = "run", first: int = 0) -> Path:
        for number, arrays in enumerate(epochs, start=first):
            tensors = {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}
            write_arrays(tmp_path / name, number, tensors)
        return tmp_path / name

    return write


@pytest.fixture
def run(write: Write) -> Path:
    rng = np.random.default_rng(0)
    return write(*(epoch_arrays(rng) for _ in range(4)))


def one(run: Path, epoch: int | None = None) -> Inspection:
    (inspection,) = inspect_run(run, epoch)
    return inspection


def test_groups_are_the_naive_loops(run: Path) -> None:
    found = one(run)
    with np.load(run / "reweight/epoch_0003.npz") as arrays:
        alpha, log_radius, substituted = (
            arrays[f"{key}_image_text"].tolist() for key in ("weights", "log_radius", "substituted")
        )
    bounds = {"many": (100, 10**9), "medium": (21, 99), "few": (1, 20)}
    total = sum(DRAWS)
    weighted = sum(m * a for m, a in zip(DRAWS, alpha, strict=True))
    for summary in found.summaries:
        least, most = bounds[summary.name]
        members = [c for c, n in enumerate(COUNTS) if least <= n <= most]
        own = sorted(log_radius[c] for c in members if not substituted[c])
        middle = (own[(len(own) - 1) // 2] + own[len(own) // 2]) / 2
        weights = sorted(alpha[c] for c in members)
        median = (weights[(len(weights) - 1) // 2] + weights[len(weights) // 2]) / 2
        assert summary.classes == len(members)
        assert summary.images == (min(COUNTS[members]), max(COUNTS[members]))
        assert summary.weights == pytest.approx((weights[0], median, weights[-1]))
        assert summary.radius == pytest.approx(math.exp(middle))
        assert summary.substituted == sum(substituted[c] for c in members)
        assert summary.share_of_draws == pytest.approx(sum(DRAWS[c] for c in members) / total)
        assert summary.share_of_weight == pytest.approx(sum(DRAWS[c] * alpha[c] for c in members) / weighted)


def test_correlation_and_spreads_leave_out_what_they_should(run: Path) -> None:
    found = one(run)
    own = (COUNTS >= 3).nonzero()[0]
    present = COUNTS > 0
    assert found.radius_correlation == pytest.approx(spearmanr(found.radii[own], COUNTS[own]).statistic)
    assert found.radius_correlation < -0.9
    assert found.weight_correlation == pytest.approx(spearmanr(found.weights[present], COUNTS[present]).statistic)
    of_draws = (found.weights * DRAWS)[present]
    assert found.weight_times_draws.whole == pytest.approx(of_draws.max() / of_draws.min())
    assert found.weight_times_draws.whole == pytest.approx(found.radius_spread.whole, rel=1e-6)
    of_images = np.sort((found.weights * COUNTS)[present])
    low, high = (np.interp(q * (len(of_images) - 1), range(len(of_images)), of_images) for q in (0.1, 0.9))
    assert found.weight_times_images.middle == pytest.approx(high / low)


def test_extremes_are_of_radii_of_their_own(run: Path) -> None:
    found = one(run)
    largest, smallest = found.extremes(3)
    candidates = sorted((c for c in range(len(COUNTS)) if COUNTS[c] >= 3), key=lambda c: found.radii[c])
    assert smallest == candidates[:3]
    assert largest == candidates[::-1][:3]
    assert not set(found.extremes(100)[0]) & set(found.extremes(100)[1])


def test_series_hold_every_epochs_quantiles(run: Path) -> None:
    found = one(run)
    series = found.series
    assert series.epochs == [0, 1, 2, 3]
    assert series.radii_moved
    for number in range(4):
        at = one(run, number)
        assert series.correlation[number] == at.radius_correlation
        few = at.weights[(COUNTS > 0) & (COUNTS <= 20)]
        assert series.weights["few"][number] == pytest.approx(np.quantile(few, [0.1, 0.5, 0.9]))
        own = at.radii[(COUNTS >= 3) & (COUNTS <= 20)]
        assert series.radii["few"][number] == pytest.approx(np.quantile(own, [0.1, 0.5, 0.9]))


def test_ranks_share_ties_as_scipys_do() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y = rng.integers(0, 5, 30), rng.standard_normal(30)
        assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
    assert math.isnan(rank_correlation([1, 2], [1, 2]))


def said(inspection: Inspection) -> tuple[str, ...]:
    return tuple(findings(inspection, None))


def test_findings_follow_the_sign_and_the_chance_level(write: Write) -> None:
    rng = np.random.default_rng(0)
    falling = write(epoch_arrays(rng), epoch_arrays(rng), name="falling")
    rising = write(epoch_arrays(rng, slope=0.2), epoch_arrays(rng, slope=0.2), name="rising")
    assert "tend to have larger radii" in said(one(falling))[0]
    assert "tend to have smaller radii, against the paper" in said(one(rising))[0]
    none = epoch_arrays(rng)
    none["log_radius_image_text"] = np.array([0, 3, 1, 4, 1.5, 5, 9, 2, 6, 0, 0, 0])
    unrelated = write(epoch_arrays(rng), none, name="none")
    assert "No relation beyond chance" in said(one(unrelated))[0]
    assert any("2 classes with too few samples" in sentence for sentence in said(one(falling)))
    assert any("1 classes have no training images" in sentence for sentence in said(one(falling)))


def test_weights_from_counts_alone_are_called_so(write: Write) -> None:
    rng = np.random.default_rng(0)
    constant = epoch_arrays(rng, log_radius_image_text=np.zeros(12), substituted_image_text=np.zeros(12, dtype=bool))
    inverse = np.where(COUNTS > 0, 3 / np.maximum(DRAWS, 1), 1).astype(np.float32)
    by_draws = write(*[{**constant, "weights_image_text": inverse}] * 2, name="draws")
    assert "just 1/m" in said(one(by_draws))[1]
    assert "cannot tell" in said(one(by_draws))[0]
    inverse = np.where(COUNTS > 0, 3 / np.maximum(COUNTS, 1), 1).astype(np.float32)
    by_images = write(*[{**constant, "weights_image_text": inverse}] * 2, name="images")
    assert "Yes: alpha * n is the same" in said(one(by_images))[1]
    fixed = {**constant, "log_radius_image_text": np.log(np.maximum(COUNTS, 1)) / 2}
    assert "never change" in said(one(write(fixed, fixed, name="fixed")))[0]
    ones = epoch_arrays(rng, weights_image_text=np.ones(12, dtype=np.float32))
    assert "All weights are 1" in said(one(write(ones, name="ones")))[1]


NAMES = [f"thing {index}" for index in range(12)]


def checkout_with(folder: Path, name: str, text: str, of: str = "some") -> Path:
    (folder / "data" / of).mkdir(parents=True)
    (folder / "data" / of / name).write_text(text)
    (folder / "main.py").touch()
    run = folder / "checkpoints" / "run"
    run.mkdir(parents=True)
    return run


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labels.txt", "".join(f"n{900 + i} {99 - i} thing_{i}\n" for i in reversed(range(12)))),
        ("labels.txt", "".join(f"/t/thing_{i} {i}\n" for i in reversed(range(12)))),
        ("categories.json", json.dumps([{"id": i, "name": f"thing {i}"} for i in range(12)])),
    ],
    ids=["imagenet", "places", "inat"],
)
def test_names_are_found_around_the_run_in_every_format(tmp_path: Path, file: str, text: str) -> None:
    run = checkout_with(tmp_path / "checkout", file, text)
    assert class_names(run, 12) == NAMES
    assert class_names(tmp_path / "checkout", 12) == NAMES
    assert class_names(run, 13) is None


def test_names_that_disagree_broken_files_and_other_checkouts_give_none(tmp_path: Path) -> None:
    run = checkout_with(tmp_path / "checkout", "categories.json", json.dumps([{"name": n} for n in NAMES]))
    assert class_names(run, 12) == NAMES
    (tmp_path / "checkout/data/other").mkdir()
    other = tmp_path / "checkout/data/other/labels.txt"
    other.write_text("not\nin any \x00 format\n")
    assert class_names(run, 12) == NAMES
    other.write_text("".join(f"/x/else_{i} {i}\n" for i in range(12)))
    assert class_names(run, 12) is None
    assert class_names(run, 12, folder="../../data/some") == NAMES
    other.unlink()
    assert class_names(run, 12) == NAMES
    (tmp_path / "checkout/main.py").unlink()
    assert class_names(run, 12) is None


def test_the_command_prints_names_and_draws_pictures_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("COLUMNS", "80")
    run = checkout_with(tmp_path / "c", "categories.json", json.dumps([{"name": f"[b]{n}"} for n in NAMES]))
    rng = np.random.default_rng(0)
    for epoch in range(2):
        write_arrays(run, epoch, {key: torch.from_numpy(np.asarray(a)) for key, a in epoch_arrays(rng).items()})
    before = sorted(run.rglob("*"))
    assert main(["inspect", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "[b]thing 8 (8)" in printed
    assert "Epoch 1 of 0 to 1" in printed
    assert sorted(run.rglob("*")) == before
    out = tmp_path / "pictures"
    assert main(["inspect", str(run), "--epoch", "0", "--out", str(out)]) == 0
    assert "Epoch 0 of 0 to 1" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["class_size.png", "epochs.png", "extremes.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in out.iterdir())


def test_each_kind_of_logits_has_tables_and_pictures(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    both = epoch_arrays(rng)
    both |= {key.replace("image_text", "visual"): value for key, value in epoch_arrays(rng).items() if "_" in key}
    assert main(["inspect", str(write(both)), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert 0 < printed.index("from the image_text logits") < printed.index("from the visual logits")
    assert len(list((tmp_path / "out").iterdir())) == 6


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def refused(run: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    out = run.parent / "out"
    assert main(["inspect", str(run), "--out", str(out), *more]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vlltr-plugin: error: ")
    assert captured.err.count("\n") == 1
    assert not out.exists()
    return captured.err


def test_a_hostile_array_is_refused_and_never_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executed = tmp_path / "executed"
    arrays = epoch_arrays(np.random.default_rng(0), counts=np.array([Hostile(executed)] * 12, dtype=object))
    np.savez(run / "reweight/epoch_0004.npz", **arrays)
    assert "epoch_0004.npz" in refused(run, capsys)
    (run / "reweight/epoch_0004.npz").write_bytes(pickle.dumps(Hostile(executed)))
    assert "epoch_0004.npz" in refused(run, capsys)
    assert not executed.exists()


def npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def huge(path: Path) -> None:
    """An array header that promises 16 EB."""
    np.savez(path, **epoch_arrays(np.random.default_rng(0)))
    path.write_bytes(path.read_bytes().replace(b"'shape': (12,), }    ", b"'shape': (2**60,), }"[:21].ljust(21)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 and no more"),
        lambda path: path.write_bytes(b"\x00\xfe" * 50),
        npy,
        huge,
        lambda path: np.savez(path, a=np.zeros(3)),
        lambda path: np.savez(path, counts=np.ones(3), draws=np.ones(3)),
        lambda path: np.savez(path, **{**epoch_arrays(np.random.default_rng(0)), "draws": np.ones((12, 2))}),
        lambda path: np.savez(path, **{**epoch_arrays(np.random.default_rng(0)), "draws": np.array(["x"] * 12)}),
        lambda path: np.savez(path, **{**epoch_arrays(np.random.default_rng(0)), "draws": np.full(12, np.nan)}),
        lambda path: np.savez(
            path, **{**epoch_arrays(np.random.default_rng(0)), "log_radius_image_text": np.full(12, np.inf)}
        ),
        lambda path: np.savez(path, **{**epoch_arrays(np.random.default_rng(0)), "counts": np.zeros(12)}),
        lambda path: np.savez(path, **{**epoch_arrays(np.random.default_rng(0)), "weights_image_text": np.zeros(12)}),
        lambda path: np.savez(path, **{key: a[:5] for key, a in epoch_arrays(np.random.default_rng(0)).items()}),
    ],
)
def test_a_broken_or_foreign_file_is_one_line_that_names_it(
    run: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], Any]
) -> None:
    spoil(run / "reweight/epoch_0002.npz")
    assert "epoch_0002.npz" in refused(run, capsys)


def test_folders_without_arrays_and_epochs_that_are_not_there_are_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert "reweight/epoch_*.npz" in refused(tmp_path / "empty", capsys)
    assert "is not there" in refused(tmp_path / "nowhere", capsys)
    assert "is a file" in refused(run / "reweight/epoch_0000.npz", capsys)
    (run / "reweight/epoch_0001.npz").unlink()
    assert "(0, 2-3) but got 1" in refused(run, capsys, "--epoch", "1")


def test_half_written_files_of_a_running_job_are_passed_over(run: Path) -> None:
    (run / "reweight/.tmp123.npz").write_bytes(b"half")
    assert one(run).epoch == 3


def test_without_matplotlib_tables_come_and_pictures_name_the_extra(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["inspect", str(run)]) == 0
    capsys.readouterr()
    assert "[report]" in refused(run, capsys)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
def test_a_run_of_inaturalists_size_takes_little_memory(tmp_path: Path) -> None:
    """360 epochs of 8142 classes: 360 links to two files."""
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    counts = np.round(1000 * np.exp(-rng.uniform(0, 6.2, 8142)))
    folder = tmp_path / "run/reweight"
    folder.mkdir(parents=True)
    for number in range(2):
        log_radius = -0.05 * np.log(counts) + 0.1 * rng.standard_normal(8142)
        arrays = {"weights": np.exp(log_radius) / counts, "log_radius": log_radius, "substituted": counts < 3}
        np.savez(
            tmp_path / f"{number}.npz",
            counts=counts,
            draws=counts,
            drawn=counts,
            next_weights_image_text=arrays["weights"],
            **{f"{key}_image_text": value for key, value in arrays.items()},
        )
    for epoch in range(360):
        (folder / f"epoch_{epoch:04d}.npz").symlink_to(tmp_path / f"{epoch % 2}.npz")
    # Not getrusage: a child inherits its parent's peak there.
    code = (
        "import sys; from vlltr_plugin.cli import main; assert main(sys.argv[1:]) == 0; "
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    command = [sys.executable, "-c", code, "inspect", str(folder.parent), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert int(done.stdout.splitlines()[-1]) < 2**20  # KiB


def test_mixed_runs_in_one_folder_are_refused(run: Path, write: Write) -> None:
    arrays = epoch_arrays(np.random.default_rng(0))
    write({key.replace("image_text", "visual"): value for key, value in arrays.items()}, first=4)
    with pytest.raises(ReportError, match="two runs in one folder"):
        inspect_run(run)
