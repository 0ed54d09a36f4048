"""The settings of a recorded run, and how compare and resume read them."""

import json
import math
from pathlib import Path

import pytest
import torch
from recorded_run import COUNTS, contents, end_epochs, observe, recorded, run

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss, RunRecorder, Uniform
from vlltr_plugin.__main__ import main
from vlltr_plugin.report.compare import compare_settings, load_all, load_run, reweight_of

PUBLISHED = {"data_set": "IMNET_LT", "model": "my r50", "epochs": 50}
OF_IMAGENET_LT = [115846 - 999 * 100] + [100] * 999


def record(folder, criterion=None, settings=None, **metrics):
    """A run of one epoch in which nothing is observed."""
    RunRecorder(folder, criterion, settings).end_epoch(**{"overall": 1.0, **metrics})


def test_compare_names_the_settings_that_differ(tmp_path, capsys):
    made = {
        "plain": ReweightedLoss(Uniform(COUNTS, draws=[10, 5, 2]), smoothing=0.1),
        "volume": ReweightedLoss(ClassVolume(COUNTS, variant="bv"), base="sigmoid"),
        "margins": LogitAdjustedLoss(InverseFrequency(COUNTS, draws=[3, 2, 1]), tau=0.5),
        "theirs": None,
    }
    observe(made["volume"])
    for name, criterion in made.items():
        record(tmp_path / name, criterion, {"lr": 0.1, "optimizer": Path("sgd"), "seed": name})
    assert differing(tmp_path, *made) == {
        "draws": ("as class_counts", "as class_counts", "given", "?"),
        "loss": ("softmax", "sigmoid", "softmax", "?"),
        "smoothing": ("0.1", "0.0", "0.0", "?"),
    }
    assert [reweight_of(method) for method in load_all([str(tmp_path / name) for name in made])] == [
        "none",
        "class_volume (variant='bv')",
        "inverse (form='logit_adjustment', tau=0.5)",
        "not the plug-in's",
    ]
    assert "validation split" not in compared(capsys, *(tmp_path / name for name in made))


def compared(capsys, *arguments, code=0):
    """All that `compare` prints."""
    assert main(["compare", *map(str, arguments)]) == code
    return "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("counts", "settings", "reference", "code", "found"),
    [
        (None, {}, "imagenet_lt/r50", 0, "Not comparable"),
        (None, {"data_set": "INAT"}, "imagenet_lt/r50", 2, "is of data set INAT"),
        (None, PUBLISHED, "imagenet_lt/r50", 0, "Comparable: the same"),
        ([60, 30, 12], {}, "lift/imagenet_lt", 2, "but the reference lift/imagenet_lt of"),
        ([116] * 1000, {}, "imagenet_lt/r50", 2, "but the reference imagenet_lt/r50 of"),
        (OF_IMAGENET_LT, {}, "imagenet_lt/r50", 0, "Not comparable"),
        (OF_IMAGENET_LT, {}, "lift/imagenet_lt", 0, "Not comparable"),
    ],
)
def test_published_numbers_are_shown_for_runs_of_the_same_data_only(
    tmp_path, capsys, counts, settings, reference, code, found
):
    record(tmp_path, counts and ReweightedLoss(Uniform(counts)), settings, overall=70.0)
    printed = compared(capsys, tmp_path, "--reference", reference, code=code)
    assert found in printed
    assert ("Not comparable" in printed) == (found == "Not comparable")


def test_settings_of_a_user_s_weighting_are_described_without_making_another(tmp_path):
    made = []

    class Mine(InverseFrequency):
        def __init__(self, counts, *, power=1.0):
            super().__init__(counts, normalize="mean")
            made.append(self)
            self.power = power

        def settings(self):
            return {**super().settings(), "power": self.power}

    record(tmp_path, ReweightedLoss(Mine(COUNTS, power=2.0)))
    assert load_run(tmp_path).args["reweight"] == {"type": "Mine", "normalize": "mean", "power": 2.0}
    assert len(made) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"smoothing": 0.1, "lr": 1}, "the plug-in uses smoothing"),
        ({"steps": {(1, 2): 3}}, "as JSON but keys must be"),
        ({(1, 2): 3}, "as JSON but keys must be"),
    ],
)
def test_settings_that_cannot_be_recorded_are_refused_at_once(tmp_path, settings, said):
    with pytest.raises(ValueError, match=said):
        RunRecorder(tmp_path / "run", ReweightedLoss(Uniform(COUNTS)), settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"lr": 0.', b"\xff\xfe"])
def test_a_run_with_damaged_settings_is_read_without_them(tmp_path, content):
    record(tmp_path)
    (tmp_path / "reweight_settings.json").write_bytes(content)
    run = load_run(tmp_path)
    assert run.line("last")["test_acc1"] == 1.0
    assert run.args_source is None
    assert any("reweight_settings.json" in warning for warning in run.warnings)


def test_a_log_without_its_settings_and_with_older_keys_is_compared(tmp_path, capsys):
    run(tmp_path / "new", 1)
    line = json.loads((tmp_path / "new" / "log.txt").read_text())
    older = {"overall": "test_acc1", "few": "test_low"}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "log.txt").write_text(json.dumps({older.get(key, key): line[key] for key in line}) + "\n")
    assert load_run(tmp_path / "old").line("last") == load_run(tmp_path / "new").line("last")
    assert "settings of old" in compared(capsys, tmp_path / "old", tmp_path / "new")


def test_a_folder_with_a_comma_in_its_name_can_be_named(tmp_path):
    run(tmp_path / "volume, adjusted" / "0", 1)
    (one,) = load_all([f"adjusted={tmp_path / 'volume, adjusted' / '0'}"])
    assert (one.name, len(one.runs)) == ("adjusted", 1)


def differing(folder, *names):
    verdict = compare_settings(load_all([str(folder / name) for name in names]))
    assert verdict.comparable == (not verdict.differing)
    return {setting.name: setting.values for setting in verdict.differing}


def test_a_setting_that_one_run_has_alone_differs(tmp_path):
    record(tmp_path / "a", settings={"lr": 1e-3, "augment": "randaug"})
    record(tmp_path / "b", settings={"lr": 1e-3})
    record(tmp_path / "c", ReweightedLoss(Uniform(COUNTS)), {"lr": 1e-3})
    assert differing(tmp_path, "a", "b") == {"augment": ("randaug", "not set")}
    assert differing(tmp_path, "b", "c") == {}


def test_runs_of_other_samplers_differ_and_a_factor_of_the_draws_does_not_matter(tmp_path):
    for name, draws in {"a": [9, 5, 3], "uniform": [1, 1, 1], "swapped": [5, 9, 3], "twice": [18, 10, 6]}.items():
        record(tmp_path / name, ReweightedLoss(InverseFrequency(COUNTS, draws=draws)))
    for other in ("uniform", "swapped"):
        assert differing(tmp_path, "a", other).keys() == {"draws of the classes"}
    assert differing(tmp_path, "a", "twice") == {}


@pytest.mark.parametrize("others", [[43, 43, 43], [30, 90, 9]])
def test_runs_of_other_class_counts_are_refused(tmp_path, capsys, others):
    for folder, counts in (("a", [90, 30, 9]), ("b", others)):
        record(tmp_path / folder, ReweightedLoss(InverseFrequency(counts)))
    assert "class counts" in compared(capsys, tmp_path / "a", tmp_path / "b", code=2)


def test_compare_refuses_an_empty_log_for_its_missing_accuracies(tmp_path, capsys):
    recorded(tmp_path)
    (tmp_path / "log.txt").write_text("")
    assert "expected accuracies to compare: call recorder.end_epoch" in compared(capsys, tmp_path, code=2)


def test_a_compiled_criterion_is_recorded_as_the_one_in_it(tmp_path):
    plain = LogitAdjustedLoss(ClassVolume(COUNTS), tau=0.5)
    compiled = torch.compile(plain, backend="eager")
    recorder = RunRecorder(tmp_path, compiled)
    assert recorder.settings == RunRecorder(tmp_path, plain).settings
    observe(compiled)
    recorder.end_epoch()
    resumed = LogitAdjustedLoss(ClassVolume(COUNTS), tau=0.5)
    assert RunRecorder(tmp_path, resumed).resume() == 1
    assert torch.equal(resumed.in_force(), plain.in_force())
    with pytest.raises(ValueError, match="form was logit_adjustment"):
        RunRecorder(tmp_path, torch.compile(ReweightedLoss(ClassVolume(COUNTS)), backend="eager")).resume()


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
def test_a_run_of_another_loss_is_not_resumed(tmp_path, case, next_epoch):
    *made, words = OTHER_LOSSES[case]
    criterion, same, other = (made[i][0] and made[i][0](ClassVolume(COUNTS), **made[i][1]) for i in (0, 0, 1))
    end_epochs(RunRecorder(tmp_path, criterion), 0, 1, overall=50.0)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=words):
        RunRecorder(tmp_path, other).resume(next_epoch)
    with pytest.raises(ValueError, match="up to epoch 1"):
        RunRecorder(tmp_path, other).end_epoch(overall=1.0)
    assert other is None or other.weighting.epoch == 0
    assert contents(tmp_path) == before
    assert RunRecorder(tmp_path, same).resume(next_epoch) == (2 if next_epoch is None else next_epoch)
    assert RunRecorder(tmp_path, other).resume(0) == 0  # a new run takes the place of all


def test_a_resume_with_other_settings_of_the_user_names_them(tmp_path, capsys):
    alike = lambda: {"clip": math.nan, "object": object()}  # noqa: E731
    record(tmp_path, settings={"lr": 0.1, "batch": 8, "sizes": (1, 2), **alike()})
    again = RunRecorder(tmp_path, settings={"lr": 0.2, "warm-up": 3, "sizes": (1, 2), **alike()})
    assert again.resume() == 1
    said = capsys.readouterr().out
    assert "lr was 0.1 and is 0.2, batch was 8 and is not set, warm-up was not set and is 3." in said
    assert not any(name in said for name in ("sizes", "clip", "object"))
    again.end_epoch(overall=2.0)
    assert load_run(tmp_path).args["lr"] == 0.2


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"lr": 1}'])
def test_a_resume_is_not_refused_where_the_recorded_settings_lack_the_loss(tmp_path, content, capsys):
    recorded(tmp_path)
    (tmp_path / "reweight_settings.json").write_text(content)
    assert RunRecorder(tmp_path, LogitAdjustedLoss(ClassVolume(COUNTS)), settings={"lr": 1}).resume() == 2
    assert "other settings" not in capsys.readouterr().out


def test_accuracies_as_fractions_are_shown_in_percent(tmp_path, capsys):
    shown = {}
    for name, scale in (("fractions", 0.01), ("percent", 1.0)):
        end_epochs(RunRecorder(tmp_path / name), 0, 1, overall=scale * 41.0, many=scale * 100, few=0.0, loss=0.7)
        shown[name] = load_run(tmp_path / name)
    assert shown["fractions"].log.epochs[1] == pytest.approx(shown["percent"].log.epochs[1])
    assert shown["percent"].warnings == ()
    assert "read as fractions" in compared(capsys, *(tmp_path / name for name in shown))
