"""RunRecorder: what it writes, that runs go on to the last bit, and what it refuses."""

import json
import math
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
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
    dist.destroy_process_group()


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
