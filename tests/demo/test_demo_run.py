"""The demonstration itself, and its parts that need no training."""

import io
import json
import sys
import tempfile
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress

from vlltr_plugin.cli import main
from vlltr_plugin.demo import make_standin, read_log, run, run_demo
from vlltr_plugin.demo.standin_checkout import UNFINISHED, WatchedRun
from vlltr_plugin.demo.verdict import standard_errors, verdict
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.compare import Method, compare, load_run
from vlltr_plugin.report.pictures import MissingExtraError

RESULT = {"test_many": 90.0, "test_median": 80.0, "test_low": 50.0, "test_acc1": 75.0}


def method(folder, name, *lines):
    """A method with one run, of which these are the log's lines."""
    path = folder / name / "log.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(map(json.dumps, lines)))
    return Method(name, (load_run(path),))


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=1000)


@pytest.fixture
def untrained(monkeypatch):
    """The demo without its training; the logs stand in folders that the demo makes, and removes."""

    def made_up(checkout, epochs, console):
        return compare([method(checkout, name, RESULT) for name in ("data", "report")])

    monkeypatch.setattr(run, "_demonstrate", made_up)


def test_demo_trains_all_four_resumes_and_prints_the_comparison(tmp_path, console):
    comparison = run_demo(tmp_path / "demo", epochs=2, console=console)
    printed = console.file.getvalue()
    for words in ("6 lines in main.py", "started again", "many-shot", "few-shot", "standard errors", "reweight/*.npz"):
        assert words in printed
    names = ["baseline", "inverse frequency", "class volume", "class volume as margins"]
    assert [run.name for run in comparison.methods] == names
    assert comparison.verdict.comparable
    told = printed.split("What to make of it")[1].splitlines()
    assert [line[:2] for line in told[1:5]] == ["1.", "2.", "3.", "4."]
    assert "chosen on validation" in told[2]
    assert "first weighted one" in told[4]
    report, runs = tmp_path / "demo" / "report", tmp_path / "demo" / "checkpoints"
    for name in ("groups.png", "accuracy.png", "time.png", "report.md", "class_size.png", "epochs.png"):
        assert f"wrote {report / name}" in printed
        assert (report / name).stat().st_size > 1000
    logs = {folder.name.removeprefix("digits_"): read_log(folder / "log.txt") for folder in runs.iterdir()}
    epochs = {name: [line.get("epoch") for line in log] for name, log in logs.items()}
    assert all(epochs[name] == [0, 1, None] for name in ("baseline", "inverse", "dv", "dv_adjusted"))
    # A run killed between checkpoint and log line goes on without that line.
    assert {0, 1, 2, 5, None} <= set(epochs["resumed"])
    assert len(set(epochs["resumed"])) == len(epochs["resumed"])
    largest = {name: log[0].get("train_reweight_alpha_max") for name, log in logs.items()}
    assert (largest["baseline"], largest["dv"]) == (None, 1)
    assert largest["dv_adjusted"] > 1  # margins apply from the first step on
    assert list((runs / "digits_dv" / "reweight").glob("*.npz"))
    assert not (runs / "digits_baseline" / "reweight").exists()


@pytest.mark.parametrize("keep", [False, True])
def test_temporary_folder_stays_only_when_told(monkeypatch, tmp_path, keep, console, untrained):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run_demo(keep=keep, console=console)
    assert any(tmp_path.iterdir()) == keep


@pytest.mark.parametrize("missing", [("sklearn",), ("sklearn", "matplotlib")])
def test_missing_libraries_are_named_at_once_before_anything_is_written(monkeypatch, tmp_path, capsys, missing):
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "vlltr-plugin[demo]" in error
    assert "scikit-learn" in error
    assert ("matplotlib" in error) == ("matplotlib" in missing)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_demo_works_and_says_so_before_the_training(monkeypatch, tmp_path, console, untrained):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    without_training, printed = run._demonstrate, []

    def demonstrate(*arguments):
        printed.append(console.file.getvalue())
        return without_training(*arguments)

    monkeypatch.setattr(run, "_demonstrate", demonstrate)
    run_demo(tmp_path / "demo", console=console)
    assert "no pictures: Expected matplotlib" in printed[0]
    assert "vlltr-plugin[demo]" in printed[0]
    assert "No pictures: Expected matplotlib" in console.file.getvalue()
    assert (tmp_path / "demo" / "report" / "report.md").exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), RuntimeError("a run failed"), OSError("disk full")])
@pytest.mark.parametrize("there", [False, True])
def test_a_demo_that_does_not_end_leaves_no_filled_folder(monkeypatch, tmp_path, stop, there, console, untrained):
    out, without_training = tmp_path / "demo", run._demonstrate

    def stops(checkout, epochs, console):
        for name in ("checkpoints", "report"):
            (checkout / name).mkdir()
            (checkout / name / "file").touch()
        raise stop

    if there:
        out.mkdir()
    monkeypatch.setattr(run, "_demonstrate", stops)
    with pytest.raises(type(stop)):
        run_demo(out, console=console)
    assert list(tmp_path.rglob("*")) == [out] * there
    monkeypatch.setattr(run, "_demonstrate", without_training)
    run_demo(out, console=console)
    assert (out / "report" / "report.md").exists()
    assert not list(out.glob(".*"))


def test_what_a_killed_demo_left_is_replaced_and_nothing_else(tmp_path, console, untrained):
    out = tmp_path / "demo"
    run_demo(out, console=console)
    with pytest.raises(FileExistsError, match="holds something"):  # a finished one stays
        run_demo(out, console=console)
    (out / UNFINISHED).touch()
    run_demo(out, console=console)
    assert not (out / UNFINISHED).exists()
    for name in (UNFINISHED, "mine.txt"):
        (out / name).touch()
    with pytest.raises(FileExistsError, match="holds something"):
        run_demo(out, console=console)
    assert (out / "mine.txt").exists()


def test_no_epochs_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        run_demo(tmp_path / "demo", epochs=0)
    assert not (tmp_path / "demo").exists()


def test_failed_run_is_reported_with_what_it_printed(tmp_path, console):
    with Progress(console=console) as progress:
        watched = WatchedRun(tmp_path, "none.py", 1, "cpu", progress, "no main.py here", "none")
        with pytest.raises(RuntimeError, match=r"(?s)status 2.*main\.py"):
            watched.train()


def test_standard_errors_are_the_binomial_ones_of_the_first_and_the_last_run_on_the_demos_test_images(tmp_path):
    runs = [method(tmp_path, n, {**RESULT, "test_low": few}) for n, few in (("a", 50.0), ("between", 1.0), ("b", 20.0))]
    errors = standard_errors(compare(runs))
    assert list(errors) == ["overall top-1", "many-shot", "medium-shot", "few-shot"]
    assert errors["few-shot"] == pytest.approx(100 * ((0.25 + 0.16) / (3 * 36)) ** 0.5)
    assert errors["overall top-1"] == pytest.approx(100 * (2 * 0.75 * 0.25 / (10 * 36)) ** 0.5)
    with pytest.raises(RuntimeError, match="final test"):
        standard_errors(compare([runs[0], method(tmp_path, "not tested", {**RESULT, "epoch": 3})]))


SMALL = ("50 %, 60 %, 62 %, 70 %", "+2.0 few-shot, no more than", "starts low here: after epoch 1")
LARGE = ("50 %, 10 %, 90 %, 0 %", "+80.0 few-shot, more than", "though not here")


@pytest.mark.parametrize(
    ("few", "second", "words"), [((50.0, 60.0, 62.0, 70.0), 30.0, SMALL), ((50.0, 10.0, 90.0, 0.0), 70.0, LARGE)]
)
def test_the_verdict_says_what_the_numbers_say(tmp_path, few, second, words):
    runs, logs = [], []
    for name, value in zip("abcd", few, strict=True):
        lines = [{**RESULT, "epoch": e, "test_acc1": second if name == "c" and e == 1 else 60.0 + e} for e in range(3)]
        for line, largest in zip(lines, (1.0, 3.0, 3.0), strict=True):
            line |= {"train_reweight_alpha_min": 0.5, "train_reweight_alpha_max": largest}
        logs.append(lines)
        runs.append(method(tmp_path, name, *lines, {**RESULT, "test_low": value}))
    compared, weights = compare(runs), SimpleNamespace(parts=SimpleNamespace(share=-0.034))
    effect, volume, start = verdict(compared, logs[:3], weights)
    for number, (line, word) in enumerate(zip((effect, volume, start), words, strict=True), 1):
        assert line.startswith(f"{number}. ")
        assert word in line
    assert "explain -3 % of the spread of log alpha (below 0" in volume
    assert f"it has {second:.0f} % on validation, inverse frequency 61 %, the baseline 61 %" in start
    assert "0.50 to 3.00 at once" in start
    after = {"tau": 0.75, "top1": 92.5, "many": 95.25, "medium": 90.0, "few": 80.125}
    first, adjusted, *others = verdict(compared, logs[:3], weights, after)
    assert [line[3:] for line in (first, *others)] == [line[3:] for line in (effect, volume, start)]
    assert "(tau 0.75, chosen on validation) give 80.12 %, 95.25 %, 92.50 %" in adjusted
    assert f"margins gives {few[3]:.2f} %, 90.00 %, 75.00 %" in adjusted


def test_the_verdict_of_one_epoch_claims_no_effect_of_weights_that_never_applied(tmp_path):
    line = {**RESULT, "epoch": 0, "train_reweight_alpha_min": 1.0, "train_reweight_alpha_max": 1.0}
    compared = compare([method(tmp_path, name, line, RESULT) for name in "abcd"])
    weights, after = SimpleNamespace(parts=SimpleNamespace(share=0.0)), {"tau": 1, "top1": 90, "many": 90, "few": 80}
    for row in (None, after):
        first, *others = verdict(compared, [[line]] * 3, weights, row)
        assert "trained like the baseline" in first
        assert "train 2 epochs or more" in first
        assert [line[:12] for line in others] == ["2. Adjusting"] * (row is not None)


@pytest.mark.parametrize("error", [MissingExtraError("Expected torchmetrics"), ReportError("Expected torchmetrics")])
def test_a_baseline_that_cannot_be_evaluated_does_not_end_the_demo(monkeypatch, tmp_path, error, console):
    def fails(*_):
        raise error

    monkeypatch.setattr(run, "run_evaluation", fails)
    found = run._adjusted_after_training(make_standin(tmp_path), SimpleNamespace(output_dir=tmp_path), "cpu", console)
    assert found is None
    assert "not adjusted after training: Expected torchmetrics" in console.file.getvalue()


def test_the_command_keeps_its_folder_unless_told_another(monkeypatch, tmp_path, untrained):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    assert (tmp_path / "vlltr-demo" / "report" / "report.md").exists()
    assert main(["demo"]) == 2
    assert main(["demo", "--keep", "--out", "other"]) == 0


def test_log_reader_leaves_out_comments_blanks_and_torn_lines(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text('{"epoch": 0}\n# epoch=1\n\n{"epoch": 1, "tr{"epoch": 1}\n{"epoch": 2}\n{"epo')
    assert read_log(log) == [{"epoch": 0}, {"epoch": 2}]
    assert read_log(tmp_path / "none.txt") == []
