"""RunRecorder: what it writes and what it refuses, also on several ranks."""

import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from process_groups import leave_group
from recorded_run import COUNTS, EPOCHS, lines_of, observe, recorded, run

from vlltr_plugin import ClassVolume, InverseFrequency, ReweightedLoss, RunRecorder
from vlltr_plugin.__main__ import main
from vlltr_plugin.report.compare import load_run
from vlltr_plugin.runs.epoch_files import epoch_files, read_epoch


def test_files_hold_the_arrays_and_a_line_an_epoch(tmp_path):
    _, criterion = run(tmp_path, EPOCHS)
    files = epoch_files(tmp_path)
    assert list(files) == list(range(EPOCHS))
    last = read_epoch(EPOCHS - 1, files[EPOCHS - 1]).by_logits["single"]
    assert np.array_equal(last.next_weights, criterion.weighting.weights.double().numpy())
    assert np.array_equal(last.log_radius, criterion.weighting.log_radius64.numpy())
    assert np.array_equal(last.in_force, read_epoch(2, files[2]).by_logits["single"].next_weights)
    assert np.load(files[0])["drawn"].tolist() == COUNTS
    lines = lines_of(tmp_path)
    assert [line["epoch"] for line in lines] == list(range(EPOCHS))
    assert [line["own"] for line in lines] == [0, 0.5, 1.0, 1.5]
    assert all(line["train_reweight_drawn_alpha"] > 0 for line in lines)


def test_the_plug_in_s_commands_read_it(tmp_path, capsys):
    folder = tmp_path / "run"
    run(folder, EPOCHS)
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
    assert lines_of(tmp_path) == [{"epoch": 0, "overall": 7}]


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
    assert json.loads((tmp_path / "log.txt").read_text().splitlines()[-1])["overall"] == 2.0


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


@pytest.mark.parametrize("other", [ClassVolume(COUNTS), torch.nn.CrossEntropyLoss(), COUNTS])
def test_what_is_no_criterion_is_refused(tmp_path, other):
    with pytest.raises(TypeError, match="Expected a criterion such as ReweightedLoss"):
        RunRecorder(tmp_path, other)


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
