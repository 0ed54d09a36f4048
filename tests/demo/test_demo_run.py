"""The demonstration itself, and its parts that need no training."""

import io
import tempfile

import pytest
from rich.console import Console
from rich.progress import Progress

from vlltr_plugin.demo import read_log, run, run_demo
from vlltr_plugin.demo.comparison import GroupAccuracy, compare_groups
from vlltr_plugin.demo.watched_run import WatchedRun

RESULT = {"test_many": 90.0, "test_median": 80.0, "test_low": 50.0, "test_acc1": 75.0}


def quiet_console():
    return Console(file=io.StringIO(), width=200)


def test_demo_trains_both_resumes_and_prints_the_comparison(tmp_path):
    console = quiet_console()
    groups = run_demo(tmp_path / "demo", epochs=2, console=console)
    printed = console.file.getvalue()
    for words in ("6 lines in main.py", "started again", "many-shot", "few-shot", "reweight/*.npz"):
        assert words in printed
    assert [group.images for group in groups] == [108, 144, 108, 360]
    runs = tmp_path / "demo" / "checkpoints"
    logs = {folder.name: read_log(folder / "log.txt") for folder in runs.iterdir()}
    epochs = {name: [line.get("epoch") for line in log] for name, log in logs.items()}
    assert epochs["digits_baseline"] == epochs["digits_dv"] == [0, 1, None]
    # A run killed between checkpoint and log line goes on without that line.
    assert set(epochs["digits_resumed"]) >= {0, 1, 2, 5, None}
    assert len(set(epochs["digits_resumed"])) == len(epochs["digits_resumed"])
    assert "train_reweight_alpha_max" in logs["digits_dv"][0]
    assert "train_reweight_alpha_max" not in logs["digits_baseline"][0]
    assert list((runs / "digits_dv" / "reweight").glob("*.npz"))
    assert not (runs / "digits_baseline" / "reweight").exists()


@pytest.mark.parametrize("keep", [False, True])
def test_temporary_folder_stays_only_when_told(monkeypatch, tmp_path, keep):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(run, "_demonstrate", lambda checkout, epochs, console: [])
    run_demo(keep=keep, console=quiet_console())
    assert any(tmp_path.iterdir()) == keep


def test_no_epochs_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        run_demo(tmp_path / "demo", epochs=0)
    assert not (tmp_path / "demo").exists()


def test_failed_run_is_reported_with_what_it_printed(tmp_path):
    with Progress(console=quiet_console()) as progress:
        watched = WatchedRun(tmp_path, "none.py", 1, "cpu", progress, "no main.py here", "none")
        with pytest.raises(RuntimeError, match=r"(?s)status 2.*main\.py"):
            watched.train()


def test_groups_pair_the_two_results():
    other = {**RESULT, "test_low": 60.0}
    groups = compare_groups(RESULT, other)
    assert [group.difference for group in groups] == [0.0, 0.0, 10.0, 0.0]
    assert [group.images for group in groups] == [3 * 36, 4 * 36, 3 * 36, 10 * 36]


def test_standard_error_is_the_binomial_one_of_a_difference():
    group = GroupAccuracy("few-shot", images=100, baseline=50.0, class_volume=20.0)
    assert group.standard_error == pytest.approx(100 * (0.25 / 100 + 0.16 / 100) ** 0.5)


def test_a_log_that_does_not_end_in_a_test_line_is_refused():
    with pytest.raises(ValueError, match="class volume's log to end in a test line"):
        compare_groups(RESULT, {**RESULT, "epoch": 3})


def test_log_reader_leaves_out_comments_blanks_and_torn_lines(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text('{"epoch": 0}\n# epoch=1\n\n{"epoch": 1, "tr{"epoch": 1}\n{"epoch": 2}\n{"epo')
    assert read_log(log) == [{"epoch": 0}, {"epoch": 2}]
    assert read_log(tmp_path / "none.txt") == []
