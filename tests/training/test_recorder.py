"""RunRecorder: what it writes, that runs go on to the last bit, and what it refuses."""

import json
import math
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from process_groups import leave_group
from recorded_run import COUNTS, observe, recorded, run

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss, RunRecorder
from vlltr_plugin.__main__ import main
from vlltr_plugin.report.compare.runs import load_run
from vlltr_plugin.runs.epoch_arrays import epoch_files, read_epoch
from vlltr_plugin.runs.torn_lines import whole_objects

SCRIPT = Path(__file__).parents[1] / "recorded_run.py"
EPOCHS = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody stops."""
    folder = tmp_path_factory.mktemp("recorded") / "whole"
    return folder, *run(folder, EPOCHS)


def lines_of(folder):
    return [line for text in (folder / "log.txt").read_text().splitlines() for line in whole_objects(text)[0]]


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


def test_the_plug_in_s_commands_read_it(whole, tmp_path, capsys):
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
    assert seed.line("last")["test_low"] == lines_of(folder)[-1]["test_low"]
    assert not seed.warnings


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


# What it says and refuses


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
    with pytest.raises(ValueError, match=r"up to epoch 1: call resume\(\)"):
        recorded(tmp_path, epochs=1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    anew = RunRecorder(tmp_path, criterion)
    assert anew.resume(0) == 0
    observe(criterion)
    anew.end_epoch()
    assert list(epoch_files(tmp_path)) == [0]


@pytest.mark.parametrize(
    "metrics", [{"overall": "93"}, {"overall": None}, {"overall": [1, 2]}, {"train_reweight_x": 1}, {"own": True}]
)
def test_metrics_that_are_no_numbers_are_refused_before_anything_is_done(tmp_path, metrics):
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    observe(criterion)
    with pytest.raises(ValueError, match=next(iter(metrics))):
        RunRecorder(tmp_path / "run", criterion).end_epoch(**metrics)
    assert criterion.weighting.epoch == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [7, 7.0, np.float32(7), np.int64(7), torch.tensor(7.0), torch.tensor([7])])
def test_any_kind_of_number_is_logged(tmp_path, number):
    RunRecorder(tmp_path).end_epoch(overall=number)
    assert lines_of(tmp_path) == [{"epoch": 0, "test_acc1": 7}]


@pytest.mark.parametrize("epoch", [-1, 1.0, True, "3"])
def test_an_epoch_that_is_none_is_refused(tmp_path, epoch):
    with pytest.raises(ValueError, match="whole number"):
        RunRecorder(tmp_path, ReweightedLoss(ClassVolume(COUNTS))).end_epoch(epoch)
    with pytest.raises(ValueError, match="whole number"):
        RunRecorder(tmp_path, ReweightedLoss(ClassVolume(COUNTS))).resume(epoch)


def test_a_folder_that_cannot_be_written_costs_the_files_and_not_the_run(tmp_path, capsys):
    (tmp_path / "run").write_text("a file")
    criterion = recorded(tmp_path / "run", epochs=3)
    assert criterion.weighting.epoch == 3
    assert capsys.readouterr().out.count("could not write") == 1


def test_a_half_line_is_closed_by_the_next(tmp_path):
    recorder = RunRecorder(tmp_path)
    recorder.end_epoch(overall=1.0)
    with (tmp_path / "log.txt").open("a") as file:
        file.write('{"epoch": 1, "test_a')
    again = RunRecorder(tmp_path)
    assert again.resume() == 1
    again.end_epoch(overall=2.0)
    assert [line["epoch"] for line in lines_of(tmp_path)] == [0, 1]
    assert json.loads((tmp_path / "log.txt").read_text().splitlines()[-1])["test_acc1"] == 2.0


# Going back, and another run's folder


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


def one_of_another_loss(made, options):
    return made and made(ClassVolume(COUNTS), **options)


OTHER_LOSSES = {
    "tau": ((LogitAdjustedLoss, {}), (LogitAdjustedLoss, {"tau": 2.0}), "tau was 1.0 and is 2.0"),
    "form": ((ReweightedLoss, {}), (LogitAdjustedLoss, {}), "form was loss weights and is logit_adjustment"),
    "form back": ((LogitAdjustedLoss, {}), (ReweightedLoss, {}), "form was logit_adjustment and is loss weights"),
    "base": ((ReweightedLoss, {}), (ReweightedLoss, {"base": "focal"}), "loss was softmax and is focal"),
    "smoothing": ((ReweightedLoss, {"smoothing": 0.1}), (ReweightedLoss, {}), "smoothing was 0.1 and is 0.0"),
    "a baseline": ((None, {}), (ReweightedLoss, {}), "was not the plug-in's and is the plug-in's"),
    "for a baseline": ((ReweightedLoss, {}), (None, {}), "was the plug-in's and is not the plug-in's"),
}


@pytest.mark.parametrize("case", OTHER_LOSSES)
@pytest.mark.parametrize("next_epoch", [None, 1, 2])
def test_a_run_of_another_loss_is_not_gone_on_with(tmp_path, case, next_epoch):
    first, second, words = OTHER_LOSSES[case]
    criterion = one_of_another_loss(*first)
    recorder = RunRecorder(tmp_path, criterion)
    for epoch in range(2):
        if criterion:
            observe(criterion, epoch)
        recorder.end_epoch(overall=50.0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    other = one_of_another_loss(*second)
    with pytest.raises(ValueError, match=words):
        RunRecorder(tmp_path, other).resume(next_epoch)
    with pytest.raises(ValueError, match="up to epoch 1"):
        RunRecorder(tmp_path, other).end_epoch(overall=1.0)
    assert other is None or other.weighting.epoch == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    same = RunRecorder(tmp_path, one_of_another_loss(*first))
    assert same.resume(next_epoch) == (2 if next_epoch is None else next_epoch)
    assert RunRecorder(tmp_path, other).resume(0) == 0  # what takes the place of all is asked for


def test_other_settings_of_the_user_s_own_are_said_and_no_fault(tmp_path, capsys):
    alike = lambda: {"clip": math.nan, "object": object()}  # noqa: E731
    RunRecorder(tmp_path, settings={"lr": 0.1, "batch": 8, "sizes": (1, 2), **alike()}).end_epoch(overall=1.0)
    again = RunRecorder(tmp_path, settings={"lr": 0.2, "warm-up": 3, "sizes": (1, 2), **alike()})
    assert again.resume() == 1
    said = capsys.readouterr().out
    assert "lr was 0.1 and is 0.2, batch was 8 and is not set, warm-up was not set and is 3." in said
    assert not any(name in said for name in ("sizes", "clip", "object"))


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"lr": 1}'])
def test_settings_that_tell_nothing_refuse_nothing(tmp_path, content, capsys):
    recorded(tmp_path)
    (tmp_path / "reweight_settings.json").write_text(content)
    assert RunRecorder(tmp_path, LogitAdjustedLoss(ClassVolume(COUNTS)), settings={"lr": 1}).resume() == 2
    assert "other settings" not in capsys.readouterr().out


# A criterion that another run has used


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
    assert f"stays with what was loaded (largest {largest:.4g})" in capsys.readouterr().out


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


# Bad input, before anything is trained


@pytest.mark.parametrize("settings", [{"steps": {(1, 2): 3}}, {(1, 2): 3}])
def test_settings_that_cannot_be_written_are_refused_at_once(tmp_path, settings):
    with pytest.raises(ValueError, match="as JSON but keys must be"):
        RunRecorder(tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "text", ["2026 INFO start\n", '{"epoch": null}\n', '{"epoch": 2.0}\n', "3\n", '{"epoch": 0}\nloss 1.0\n', "\xff\n"]
)
def test_a_log_of_another_kind_is_refused_at_once_or_said(tmp_path, text, capsys):
    (tmp_path / "log.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"log\.txt.*folder of its own"):
        RunRecorder(tmp_path)
    recorded(tmp_path)  # its arrays do not hang on the log
    assert "`compare` will not read this run" in capsys.readouterr().out
    assert len(epoch_files(tmp_path)) == 2
    assert (tmp_path / "log.txt").read_bytes().startswith(text.encode("latin-1"))
    assert RunRecorder(tmp_path, ReweightedLoss(ClassVolume(COUNTS))).resume() == 2


# Kills


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


# Ranks


def one_rank(rank, world, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    mine = Path(folder) / str(rank)  # no shared disk
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    recorder = RunRecorder(mine, criterion)
    observe(criterion, rank)
    recorder.end_epoch(overall=1.0)
    again = ReweightedLoss(ClassVolume(COUNTS))
    resumed = RunRecorder(mine, again)
    start = resumed.resume()
    torch.save((start, again.weighting.weights, criterion.weighting.weights), f"{mine}.pt")
    leave_group()


def test_the_first_rank_writes_and_reads_for_all():
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(one_rank, args=(2, folder), nprocs=2)
        found = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]
        assert (Path(folder) / "0" / "log.txt").is_file()
        assert not (Path(folder) / "1").exists()
    for start, again, first in found:
        assert start == 1
        assert torch.equal(again, found[0][2])
        assert torch.equal(first, found[0][2])
        assert not math.isclose(float(again.max()), 1.0)


def one_late_rank(rank, world, folder, with_criterion):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    criterion = ReweightedLoss(ClassVolume(COUNTS)) if with_criterion else None
    recorder = RunRecorder(f"{folder}/run", criterion)
    found = []
    for epoch in range(2):
        dist.barrier()
        time.sleep(0.5 * rank)
        try:
            recorder.end_epoch(epoch, overall=50.0 + epoch)
        except ValueError as error:
            found.append(str(error))
    Path(f"{folder}/{rank}.txt").write_text("\n".join(found))
    dist.barrier()
    leave_group()


@pytest.mark.parametrize("with_criterion", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_late_rank_does_not_take_the_first_one_s_epoch_for_another_run(with_criterion, there):
    with tempfile.TemporaryDirectory() as folder:
        if there:
            before = RunRecorder(f"{folder}/run", ReweightedLoss(InverseFrequency(COUNTS)) if with_criterion else None)
            before.end_epoch(overall=1.0)
        mp.spawn(one_late_rank, args=(2, folder, with_criterion), nprocs=2)
        first, second = (Path(f"{folder}/{rank}.txt").read_text() for rank in range(2))
        assert first.count("up to epoch 0") == 2 * there
        assert second.count("up to epoch 0") == 2 * (there and with_criterion)
        assert load_run(Path(folder) / "run").last_epoch == (0 if there else 1)
