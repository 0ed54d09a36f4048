"""RunRecorder: what it writes and refuses, also on several ranks; how a run is resumed, to the last bit."""

import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from epochs import quiet
from process_groups import on_two_ranks
from recorded_run import COUNTS, EPOCHS, contents, end_epochs, fresh, lines_of, observe, recorded, run

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss, RunRecorder
from vlltr_plugin.__main__ import main
from vlltr_plugin.report.compare import load_run
from vlltr_plugin.runs.epoch_files import epoch_files, read_epoch

SCRIPT = Path(__file__).parents[1] / "recorded_run.py"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("recorded") / "whole"
    return folder, *run(folder, EPOCHS)


def test_files_hold_the_arrays_and_a_line_an_epoch(whole):
    folder, _, criterion = whole
    files = epoch_files(folder)
    assert list(files) == list(range(EPOCHS))
    last = read_epoch(EPOCHS - 1, files[EPOCHS - 1]).by_logits["single"]
    assert np.array_equal(last.next_weights, criterion.weighting.weights.double().numpy())
    assert np.array_equal(last.log_radius, criterion.weighting.log_radius64.numpy())
    assert np.array_equal(last.in_force, read_epoch(2, files[2]).by_logits["single"].next_weights)
    assert np.load(files[0])["drawn"].tolist() == COUNTS
    lines = lines_of(folder)
    assert [line["epoch"] for line in lines] == list(range(EPOCHS))
    assert [line["own"] for line in lines] == [0, 0.5, 1.0, 1.5]
    assert all(line["train_reweight_drawn_alpha"] > 0 for line in lines)


def test_inspect_and_compare_read_a_run(whole, tmp_path, capsys):
    folder = whole[0]
    assert main(["inspect", str(folder), "--out", str(tmp_path / "inspect")]) == 0
    baseline = RunRecorder(tmp_path / "baseline")
    for epoch in range(EPOCHS):
        baseline.end_epoch(overall=50.0 + epoch, few=10.0)
    assert main(["compare", str(tmp_path / "baseline"), str(folder), "--out", str(tmp_path / "compare")]) == 0
    said = capsys.readouterr().out
    assert "53" in said
    assert "branches" not in said  # what is said of VL-LTR's two predictions
    seed = load_run(folder)
    assert seed.last_epoch == EPOCHS - 1
    assert seed.line("last")["test_low"] == lines_of(folder)[-1]["few"]
    assert not seed.warnings


def test_class_names_that_are_not_utf_8_are_recorded_and_shown(tmp_path, capsys):
    """As `os.listdir` gives the name of a folder with another encoding."""
    names = [f"caf\udce9 {number}" for number in range(len(COUNTS))]
    recorder = RunRecorder(tmp_path, criterion := fresh(), class_names=names)
    observe(criterion)
    recorder.end_epoch(0, overall=50.0)
    assert [line["epoch"] for line in lines_of(tmp_path)] == [0]
    assert main(["inspect", str(tmp_path)]) == 0
    assert "caf\\udce9 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "metrics",
    [
        *({"overall": "93"}, {"overall": None}, {"overall": [1, 2]}, {"train_reweight_x": 1}, {"own": True}),
        *({"overall": 153}, {"few": -0.1}, {"many": math.inf}),
    ],
)
def test_metrics_that_are_no_numbers_or_no_percentages_are_refused_before_anything_is_done(tmp_path, metrics):
    criterion = fresh()
    observe(criterion)
    with pytest.raises(ValueError, match=next(iter(metrics))):
        RunRecorder(tmp_path / "run", criterion).end_epoch(**metrics)
    assert criterion.weighting.epoch == 0
    assert not (tmp_path / "run").exists()


def test_accuracies_of_a_diverged_run_and_rounded_ones_are_logged(tmp_path):
    RunRecorder(tmp_path).end_epoch(overall=100.00001, many=math.nan, few=0, loss=math.inf, top5=153)
    assert lines_of(tmp_path)[0].keys() >= {"overall", "many", "few", "loss", "top5"}


@pytest.mark.parametrize("number", [7, 7.0, np.float32(7), np.int64(7), torch.tensor(7.0), torch.tensor([7])])
def test_any_kind_of_number_is_logged(tmp_path, number):
    RunRecorder(tmp_path).end_epoch(overall=number)
    assert lines_of(tmp_path) == [{"epoch": 0, "overall": 7}]


@pytest.mark.parametrize("epoch", [-1, 1.0, True, "3"])
def test_an_epoch_that_is_no_whole_number_from_0_on_is_refused(tmp_path, epoch):
    recorder = RunRecorder(tmp_path, fresh())
    for call in (recorder.end_epoch, recorder.resume):
        with pytest.raises(ValueError, match="whole number"):
            call(epoch)


@pytest.mark.parametrize("other", [ClassVolume(COUNTS), torch.nn.CrossEntropyLoss(), COUNTS])
def test_anything_but_a_criterion_is_refused(tmp_path, other):
    with pytest.raises(TypeError, match="Expected a criterion such as ReweightedLoss"):
        RunRecorder(tmp_path, other)


def test_a_folder_that_cannot_be_written_costs_the_files_and_not_the_run(tmp_path, capsys):
    (tmp_path / "run").write_text("a file")
    assert recorded(tmp_path / "run", epochs=3).weighting.epoch == 3
    assert capsys.readouterr().out.count("could not write") == 1


@pytest.mark.parametrize("left", [b'{"epoch": 1, "test_a', bytes(50)], ids=["half a line", "zeros of a power failure"])
def test_a_resumed_run_writes_after_a_torn_line(tmp_path, left):
    RunRecorder(tmp_path).end_epoch(overall=50.0)
    with (tmp_path / "log.txt").open("ab") as file:
        file.write(left)
    recorder = RunRecorder(tmp_path)
    assert recorder.resume() == 1
    recorder.end_epoch(overall=60.0)
    assert [line["epoch"] for line in lines_of(tmp_path)] == [0, 1]
    seed = load_run(tmp_path)
    assert (seed.last_epoch, seed.line("last")["test_acc1"]) == (1, 60.0)


@pytest.mark.parametrize(
    "text", ["2026 INFO start\n", '{"epoch": null}\n', '{"epoch": 2.0}\n', "3\n", '{"epoch": 0}\nloss 1.0\n', "\xff\n"]
)
def test_a_log_of_another_kind_is_refused_without_a_criterion_and_left_alone_with_one(tmp_path, text, capsys):
    (tmp_path / "log.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"log\.txt.*folder of its own"):
        RunRecorder(tmp_path)
    recorded(tmp_path)
    assert "`compare` will not read this run" in capsys.readouterr().out
    assert len(epoch_files(tmp_path)) == 2
    assert (tmp_path / "log.txt").read_bytes().startswith(text.encode("latin-1"))
    assert RunRecorder(tmp_path, fresh()).resume() == 2


def one_rank(rank, folder):
    criterion, again = fresh(), fresh()
    end_epochs(RunRecorder(folder / str(rank), criterion), rank, overall=1.0)  # no shared disk
    start = RunRecorder(folder / str(rank), again).resume()
    return start, again.weighting.weights, criterion.weighting.weights


def test_the_first_rank_writes_and_reads_for_all(tmp_path):
    found = on_two_ranks(one_rank, tmp_path)
    assert (tmp_path / "0" / "log.txt").is_file()
    assert not (tmp_path / "1").exists()
    for start, again, first in found:
        assert start == 1
        assert torch.equal(again, found[0][2])
        assert torch.equal(first, found[0][2])
        assert not math.isclose(float(again.max()), 1.0)


def one_late_rank(rank, folder, with_criterion):
    recorder = RunRecorder(folder / "run", fresh() if with_criterion else None)
    found = []
    for epoch in range(2):
        dist.barrier()
        time.sleep(0.5 * rank)
        try:
            recorder.end_epoch(epoch, overall=50.0 + epoch)
        except ValueError as error:
            found.append("up to epoch 0" in str(error))
    dist.barrier()
    return found


@pytest.mark.parametrize("with_criterion", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_late_rank_does_not_take_the_first_one_s_epoch_for_another_run(tmp_path, with_criterion, there):
    if there:
        before = ReweightedLoss(InverseFrequency(COUNTS)) if with_criterion else None
        RunRecorder(tmp_path / "run", before).end_epoch(overall=1.0)
    first, second = on_two_ranks(one_late_rank, tmp_path, with_criterion)
    assert first == [True, True] * there
    assert second == [True, True] * (there and with_criterion)
    assert load_run(tmp_path / "run").last_epoch == (0 if there else 1)


KILLS = [("step", 14, 0.5), ("arrays", 2, 0.5), ("replace", 2, 0.2), ("log", 1, 0.5), ("checkpoint", 2, 0.5)]


@pytest.mark.parametrize("stop", [1, 2, 3, *KILLS], ids=lambda stop: stop if isinstance(stop, int) else stop[0])
def test_a_stopped_or_killed_run_goes_on_to_the_last_bit(whole, tmp_path, stop):
    if isinstance(stop, int):
        run(tmp_path, stop)
    else:
        command = [sys.executable, str(SCRIPT), str(tmp_path), str(EPOCHS), *map(str, stop)]
        killed = subprocess.run(command, capture_output=True, text=True)
        assert killed.returncode == -9, killed.stderr
    for path in (tmp_path / "reweight").glob("[!.]*"):
        read_epoch(0, path)
    model, criterion = run(tmp_path, EPOCHS)
    folder, expected_model, expected = whole
    torch.testing.assert_close(criterion.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert torch.equal(model.weight, expected_model.weight)
    assert list(epoch_files(tmp_path)) == list(range(EPOCHS))
    found, wanted = (
        [{key: value for key, value in line.items() if "seconds" not in key} for line in lines_of(of)]
        for of in (tmp_path, folder)
    )
    lost = [line for line in wanted if line not in found]  # at most that of the epoch in which the run was killed
    assert found == [line for line in wanted if line not in lost]
    assert len(lost) <= isinstance(stop, tuple)


@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize("next_epoch", [None, 1, 2])
def test_a_run_resumes_from_any_epoch_of_its_folder(tmp_path, made, next_epoch):
    criterion, again = fresh(made), fresh(made)
    recorder, states = RunRecorder(tmp_path, criterion), []
    for epoch in range(3):
        end_epochs(recorder, epoch)
        states.append({name: value.clone() for name, value in criterion.state_dict().items()})
    resumed = RunRecorder(tmp_path, again)
    start = resumed.resume(next_epoch)
    assert start == (3 if next_epoch is None else next_epoch)
    assert again.weighting.epoch == start
    torch.testing.assert_close(again.state_dict(), states[start - 1], rtol=0, atol=0)
    end_epochs(resumed, 0)
    assert max(epoch_files(tmp_path)) == start
    assert RunRecorder(tmp_path, fresh(made)).resume() == start + 1


def test_a_module_s_own_parameters_are_in_the_state(tmp_path):
    class Tempered(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(1.5, dtype=torch.bfloat16))

        def forward(self, logits, labels):
            return F.cross_entropy(self.scale.float() * logits, labels, reduction="none")

    first, second = (ReweightedLoss(ClassVolume(COUNTS), Tempered()) for _ in range(2))
    with torch.no_grad():
        first._loss_per_sample.scale.fill_(2.25)
    end_epochs(RunRecorder(tmp_path, first), 0)
    RunRecorder(tmp_path, second).resume()
    assert float(second._loss_per_sample.scale.detach()) == 2.25


@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize(("there", "start_epoch"), [(0, 0), (2, 0), (2, 1)])
def test_without_the_epoch_s_state_weights_start_at_1_whatever_was_measured(tmp_path, made, there, start_epoch):
    end_epochs(RunRecorder(tmp_path, fresh(made)), *range(there))
    criterion, new = (fresh(made, start_epoch=start_epoch) for _ in range(2))
    observe(criterion)
    criterion.end_epoch()
    assert not torch.equal(criterion.weighting.log_radius, torch.zeros(3))
    with pytest.warns(UserWarning, match="after epoch 6 .*START AT 1"):
        assert RunRecorder(tmp_path, criterion).resume(7) == 7
    new.weighting.begin_epoch(7)
    torch.testing.assert_close(criterion.state_dict(), new.state_dict(), rtol=0, atol=0)
    assert torch.equal(criterion.weighting.margins, new.weighting.margins)


def test_weights_from_class_counts_alone_need_no_state(tmp_path):
    criterion = ReweightedLoss(InverseFrequency(COUNTS, start_epoch=3))
    with quiet():
        RunRecorder(tmp_path, criterion).resume(7)
    assert torch.equal(criterion.weighting.weights, InverseFrequency(COUNTS).weights)


@pytest.mark.parametrize(
    "options", [{"variant": "bv"}, {"min_samples": 30}, {"start_epoch": 5}, {"draws": [59, 30, 12]}]
)
def test_a_state_of_other_settings_is_refused_by_name_and_leaves_what_was_observed(tmp_path, options):
    recorded(tmp_path)
    criterion = fresh(**options)
    observe(criterion)
    with pytest.raises(ValueError, match=next(iter(options))):
        RunRecorder(tmp_path, criterion).resume()
    assert torch.equal(criterion.weighting.weights, torch.ones(3))
    criterion.end_epoch()
    assert criterion.drawn.tolist() == COUNTS


def test_a_damaged_state_is_refused_with_what_to_do(tmp_path):
    recorded(tmp_path)
    path = epoch_files(tmp_path)[1]
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"epoch_0001\.npz.*earlier epoch with resume"):
        RunRecorder(tmp_path, fresh()).resume()
    assert RunRecorder(tmp_path, fresh()).resume(1) == 1


@pytest.mark.parametrize("next_epoch", [None, 6])
def test_a_renamed_file_is_not_resumed_from(tmp_path, next_epoch):
    recorded(tmp_path, epochs=4)
    folder = tmp_path / "reweight"
    (folder / "epoch_0003.npz").rename(folder / "epoch_0005.npz")
    with pytest.raises(ValueError, match="renamed or copied"):
        RunRecorder(tmp_path, fresh()).resume(next_epoch)


@pytest.mark.parametrize(
    ("states", "said"),
    [(True, r": call recorder.resume\(\)"), (False, r", without its states: call recorder\.resume\(0\)")],
)
def test_a_folder_with_another_run_requires_resume_first(tmp_path, states, said):
    recorded(tmp_path)
    if not states:
        shutil.rmtree(tmp_path / "reweight")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="up to epoch 1" + said):
        recorded(tmp_path, epochs=1)
    assert contents(tmp_path) == before
    anew = RunRecorder(tmp_path, fresh())
    assert anew.resume(0) == 0
    end_epochs(anew, 0)
    assert list(epoch_files(tmp_path)) == [0]


@pytest.mark.parametrize("with_criterion", [True, False])
@pytest.mark.parametrize("back", [0, 1])
def test_only_resume_goes_back_to_an_epoch_that_ended(tmp_path, with_criterion, back):
    criterion = fresh() if with_criterion else None
    recorder = RunRecorder(tmp_path, criterion)
    end_epochs(recorder, 0, 1, overall=50.0)
    before = contents(tmp_path)
    if criterion:
        observe(criterion, 2)
    with pytest.raises(ValueError, match=rf"epoch 2 to end, or a later one, but got {back}.*resume\({back}\)"):
        recorder.end_epoch(back, overall=1.0)
    assert contents(tmp_path) == before
    assert criterion is None or criterion.weighting.epoch == 2
    recorder.resume(back)
    end_epochs(recorder, 3, overall=1.0)
    seed = load_run(tmp_path)
    assert (seed.last_epoch, seed.line("last")["test_acc1"]) == (back, 1.0)


@pytest.mark.parametrize(("resumed", "ended"), [(0, 3), (1, 3), (0, 1)])
@pytest.mark.parametrize("given", [True, False])
def test_another_epoch_than_the_resumed_one_is_refused_before_anything_is_done(tmp_path, resumed, ended, given):
    """As in Lightning, where the epoch that a checkpoint goes on with is known after `on_fit_start`."""
    criterion = recorded(tmp_path, epochs=3)
    recorder = RunRecorder(tmp_path, criterion)
    recorder.resume(resumed)
    if not given:  # the user loads a state then, and the epoch goes by the criterion
        criterion.weighting.begin_epoch(ended)
    observe(criterion, 9)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=rf"epoch {resumed} to end first after resume\({resumed}\) but got {ended}"):
        recorder.end_epoch(*[ended] * given)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("epochs", [0, 2])
def test_resume_drops_statistics_observed_before(tmp_path, epochs):
    used, new = (recorded(tmp_path / name, epochs) for name in ("used", "new"))
    observe(used, 5)
    for name, criterion in (("used", used), ("new", new)):
        recorder = RunRecorder(tmp_path / name, criterion)
        assert recorder.resume() == epochs
        end_epochs(recorder, 6)
    assert torch.equal(used.weighting.weights, new.weighting.weights)
    assert used.drawn.tolist() == COUNTS


def test_loaded_weights_are_kept_if_the_folder_has_no_state(tmp_path, capsys):
    criterion, loaded = recorded(tmp_path / "first", epochs=3), fresh()
    loaded.load_state_dict(criterion.state_dict())
    observe(loaded, 7)
    with quiet():
        assert RunRecorder(tmp_path / "second", loaded).resume(3) == 3
    assert torch.equal(loaded.weighting.weights, criterion.weighting.weights)
    assert loaded.weighting._moments is None
    largest = float(criterion.weighting.weights.max())
    assert f"keeps the loaded weights (largest {largest:.4g})" in capsys.readouterr().out


def test_radii_measured_before_a_new_run_stay_with_a_message(tmp_path, capsys):
    criterion = fresh(start_epoch=0)
    observe(criterion)
    criterion.end_epoch()
    weights = criterion.weighting.weights.clone()
    RunRecorder(tmp_path, criterion).resume()
    assert torch.equal(criterion.weighting.weights, weights)
    assert f"weights measured before (largest {float(weights.max()):.4g})" in capsys.readouterr().out
