"""RunRecorder: runs go on to the last bit, from the right epoch, with nothing of another run."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from recorded_run import COUNTS, EPOCHS, lines_of, observe, recorded, run

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss, RunRecorder
from vlltr_plugin.report.compare import load_run
from vlltr_plugin.runs.epoch_files import epoch_files, read_epoch

SCRIPT = Path(__file__).parents[1] / "recorded_run.py"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody stops."""
    folder = tmp_path_factory.mktemp("recorded") / "whole"
    return folder, *run(folder, EPOCHS)


@pytest.mark.parametrize("stopped", range(1, EPOCHS))
def test_a_run_goes_on_to_the_last_bit(whole, tmp_path, stopped):
    run(tmp_path, stopped)
    model, criterion = run(tmp_path, EPOCHS)
    _, expected_model, expected = whole
    for name, value in expected.state_dict().items():
        assert torch.equal(criterion.state_dict()[name], value), name
    assert torch.equal(model.weight, expected_model.weight)
    strip = [{k: v for k, v in line.items() if "seconds" not in k} for line in lines_of(tmp_path)]
    assert strip == [{k: v for k, v in line.items() if "seconds" not in k} for line in lines_of(whole[0])]


@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize("next_epoch", [None, 1, 2])
def test_any_epoch_of_the_folder_can_be_gone_on_with(tmp_path, made, next_epoch):
    criterion = made(ClassVolume(COUNTS))
    recorder, states = RunRecorder(tmp_path, criterion), []
    for epoch in range(3):
        observe(criterion, epoch)
        recorder.end_epoch()
        states.append({name: value.clone() for name, value in criterion.state_dict().items()})
    again = made(ClassVolume(COUNTS))
    resumed = RunRecorder(tmp_path, again)
    start = resumed.resume(next_epoch)
    assert start == (3 if next_epoch is None else next_epoch)
    assert again.weighting.epoch == start
    for name, value in states[start - 1].items():
        assert torch.equal(again.state_dict()[name], value), name
    observe(again)
    resumed.end_epoch()
    assert max(epoch_files(tmp_path)) == start
    assert RunRecorder(tmp_path, made(ClassVolume(COUNTS))).resume() == start + 1


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
    recorder = RunRecorder(tmp_path, first)
    observe(first)
    recorder.end_epoch()
    RunRecorder(tmp_path, second).resume()
    assert float(second._loss_per_sample.scale.detach()) == 2.25


@pytest.mark.parametrize("there", [0, 2])
def test_without_the_epoch_s_state_it_says_that_weights_start_at_1(tmp_path, there):
    recorded(tmp_path, epochs=there)
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    with pytest.warns(UserWarning, match="after epoch 6 .*START AT 1"):
        assert RunRecorder(tmp_path, criterion).resume(7) == 7
    assert torch.equal(criterion.weighting.weights, torch.ones(3))
    assert criterion.weighting.epoch == 7


def test_weights_that_hang_on_counts_alone_need_no_state(tmp_path):
    criterion = ReweightedLoss(InverseFrequency(COUNTS, start_epoch=3))
    expected = InverseFrequency(COUNTS).weights
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RunRecorder(tmp_path, criterion).resume(7)
    assert torch.equal(criterion.weighting.weights, expected)


@pytest.mark.parametrize("options", [{"variant": "bv"}, {"min_samples": 30}, {"start_epoch": 5}, {"draws": [1, 1, 1]}])
def test_a_state_of_other_settings_is_refused_by_name(tmp_path, options):
    recorded(tmp_path)
    criterion = ReweightedLoss(ClassVolume(COUNTS, **options))
    with pytest.raises(ValueError, match=next(iter(options))):
        RunRecorder(tmp_path, criterion).resume()
    assert torch.equal(criterion.weighting.weights, torch.ones(3))


def test_a_damaged_state_is_refused_with_what_to_do(tmp_path):
    recorded(tmp_path)
    path = epoch_files(tmp_path)[1]
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"epoch_0001\.npz.*earlier epoch with resume"):
        RunRecorder(tmp_path, ReweightedLoss(ClassVolume(COUNTS))).resume()
    assert RunRecorder(tmp_path, ReweightedLoss(ClassVolume(COUNTS))).resume(1) == 1


def test_a_folder_with_another_run_wants_resume_first(tmp_path):
    recorded(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(ValueError, match=r"up to epoch 1: call recorder.resume\(\)"):
        recorded(tmp_path, epochs=1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    anew = RunRecorder(tmp_path, criterion)
    assert anew.resume(0) == 0
    observe(criterion)
    anew.end_epoch()
    assert list(epoch_files(tmp_path)) == [0]


@pytest.mark.parametrize("made", [ReweightedLoss, None])
@pytest.mark.parametrize("back", [0, 1])
def test_an_epoch_that_ended_is_gone_back_to_by_resume_only(tmp_path, made, back):
    criterion = made and made(ClassVolume(COUNTS))
    recorder = RunRecorder(tmp_path, criterion)
    for epoch in range(2):
        if criterion:
            observe(criterion, epoch)
        recorder.end_epoch(epoch, overall=50.0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    if criterion:
        observe(criterion, 2)
    with pytest.raises(ValueError, match=rf"epoch 2 to end, or a later one, but got {back}.*resume\({back}\)"):
        recorder.end_epoch(back, overall=1.0)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    assert criterion is None or criterion.weighting.epoch == 2
    recorder.resume(back)
    if criterion:
        observe(criterion, 3)
    recorder.end_epoch(back, overall=1.0)
    assert load_run(tmp_path).last_epoch == back


def test_a_run_goes_on_behind_zeros_that_a_power_failure_left(tmp_path):
    RunRecorder(tmp_path).end_epoch(0, overall=50.0)
    with (tmp_path / "log.txt").open("ab") as file:
        file.write(bytes(50))
    recorder = RunRecorder(tmp_path)
    recorder.resume(1)
    recorder.end_epoch(1, overall=60.0)
    run = load_run(tmp_path)
    assert (run.last_epoch, run.line("last")["test_acc1"]) == (1, 60.0)


def test_what_a_stopped_epoch_observed_is_no_part_of_the_next_run(tmp_path):
    criterion, fresh = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2))
    RunRecorder(tmp_path / "stopped", criterion).resume(0)
    observe(criterion, 5)
    for name, used in (("used", criterion), ("fresh", fresh)):
        recorder = RunRecorder(tmp_path / name, used)
        recorder.resume(0)
        observe(used)
        recorder.end_epoch()
    assert torch.equal(criterion.weighting.weights, fresh.weighting.weights)
    assert criterion.drawn.tolist() == COUNTS


def test_what_was_observed_before_a_state_is_loaded_is_no_part_of_its_epoch(tmp_path):
    criterion = recorded(tmp_path)
    observe(criterion, 5)
    recorder = RunRecorder(tmp_path, criterion)
    recorder.resume()
    observe(criterion, 6)
    recorder.end_epoch()
    assert criterion.drawn.tolist() == COUNTS


def test_weights_that_the_user_loaded_stay_where_the_folder_has_no_state(tmp_path, capsys):
    criterion, loaded = recorded(tmp_path / "first", epochs=3), ReweightedLoss(ClassVolume(COUNTS))
    loaded.load_state_dict(criterion.state_dict())
    observe(loaded, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert RunRecorder(tmp_path / "second", loaded).resume(3) == 3
    assert torch.equal(loaded.weighting.weights, criterion.weighting.weights)
    assert loaded.weighting._moments is None
    largest = float(criterion.weighting.weights.max())
    assert f"keeps the loaded weights (largest {largest:.4g})" in capsys.readouterr().out


def test_a_log_without_its_states_is_named_with_what_to_do(tmp_path):
    recorded(tmp_path)
    for path in epoch_files(tmp_path).values():
        path.unlink()
    with pytest.raises(ValueError, match=r"up to epoch 1, without its states: call recorder\.resume\(0\)"):
        recorded(tmp_path, epochs=1)
    assert RunRecorder(tmp_path, ReweightedLoss(ClassVolume(COUNTS))).resume(0) == 0


def test_a_refused_state_costs_nothing_that_was_counted():
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    observe(criterion)
    with pytest.raises(ValueError, match="class_counts"):
        criterion.load_state_dict(ReweightedLoss(ClassVolume([1, 2, 3])).state_dict())
    criterion.end_epoch()
    assert criterion.drawn.tolist() == COUNTS


@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize("start_epoch", [0, 1])
def test_where_weights_are_said_to_start_at_1_they_do(tmp_path, made, start_epoch):
    criterion, fresh = (made(ClassVolume(COUNTS, start_epoch=start_epoch)) for _ in range(2))
    observe(criterion)
    criterion.end_epoch()
    assert not torch.equal(criterion.weighting.log_radius, torch.zeros(3))
    with pytest.warns(UserWarning, match="START AT 1"):
        RunRecorder(tmp_path, criterion).resume(3)
    fresh.weighting.begin_epoch(3)
    for name, value in fresh.state_dict().items():
        assert torch.equal(criterion.state_dict()[name], value), name
    assert torch.equal(criterion.weighting.margins, fresh.weighting.margins)


def test_radii_measured_before_a_new_run_stay_and_are_said(tmp_path, capsys):
    criterion = ReweightedLoss(ClassVolume(COUNTS, start_epoch=0))
    observe(criterion)
    criterion.end_epoch()
    weights = criterion.weighting.weights.clone()
    RunRecorder(tmp_path, criterion).resume()
    assert torch.equal(criterion.weighting.weights, weights)
    assert f"weights measured before (largest {float(weights.max()):.4g})" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("moment", "number", "share"),
    [("step", 14, 0.5), ("arrays", 2, 0.5), ("replace", 2, 0.2), ("log", 1, 0.5), ("checkpoint", 2, 0.5)],
)
def test_a_killed_run_goes_on_to_the_last_bit(whole, tmp_path, moment, number, share):
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(EPOCHS)]
    killed = subprocess.run([*command, moment, str(number), str(share)], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    for path in (tmp_path / "reweight").glob("[!.]*"):
        read_epoch(0, path)
    model, criterion = run(tmp_path, EPOCHS)
    folder, expected_model, expected = whole
    assert torch.equal(criterion.weighting.weights, expected.weighting.weights)
    assert torch.equal(model.weight, expected_model.weight)
    assert list(epoch_files(tmp_path)) == list(range(EPOCHS))
    seed, expected_seed = load_run(tmp_path), load_run(folder)
    assert len(expected_seed.log.epochs.keys() - seed.log.epochs.keys()) <= 1
    assert seed.line("last")["test_acc1"] == expected_seed.line("last")["test_acc1"]
