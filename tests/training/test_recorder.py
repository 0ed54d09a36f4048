"""RunRecorder: what it writes, and what it refuses."""

import json

import numpy as np
import pytest
import torch
from recorded_run import COUNTS, EPOCHS, lines_of, observe, recorded, run

from vlltr_plugin import ClassVolume, ReweightedLoss, RunRecorder
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
