"""What may be compared, and what differs."""

import json

import pytest
from report_lines import OURS, SETTINGS, log_line

from vlltr_plugin.cli import main
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import get_host
from vlltr_plugin.report.compare import compare_settings, find_reference, load, reweight_of
from vlltr_plugin.report.compare.settings import early_start


@pytest.fixture
def runs(write_run):
    """Runs with the given arguments; None for a run without a checkpoint."""

    def make(*arguments):
        return [load(str(write_run(f"run{n}", None, args))) for n, args in enumerate(arguments)]

    return make


def differing(methods, reference=None):
    return {setting.name: setting.values for setting in compare_settings(methods, reference).differing}


def test_equal_settings_are_comparable_and_the_method_may_differ(runs, write_run):
    other = {**SETTINGS, "reweight": {"type": "class_volume", "min_samples": 30}, "seed": 5, "output_dir": "x"}
    made = [*runs(SETTINGS), load(str(write_run("other", [log_line(0), log_line(1) | OURS], other)))]
    verdict = compare_settings(made)
    assert (verdict.comparable, verdict.differing, verdict.unknown) == (True, (), ())
    assert [reweight_of(run) for run in made] == ["none", "class_volume (min_samples=30)"]


@pytest.mark.parametrize(("reweight", "epochs", "start", "points"), [
    ({"type": "class_volume"}, 8, 1, 1.4),
    ({"type": "class_volume", "start_epoch": 0}, 30, 1, 1.4),
    ({"type": "inverse"}, 8, 0, 1.9),
    ({"type": "inverse", "start_epoch": 1}, 8, 1, 1.4),
    ({"type": "inverse", "start_epoch": 2}, 8, None, None),
    ({"type": "inverse", "start_epoch": "2"}, 8, None, None),
    ({"type": "inverse"}, 7, None, None),
    ({"type": "inverse", "form": "logit_adjustment"}, 8, None, None),
    ({"type": "effective_number"}, 8, None, None),
    (None, 8, None, None),
])  # fmt: skip
def test_an_early_start_of_weights_is_noted_with_its_cost_in_the_benchmark(
    write_run, capfd, reweight, epochs, start, points
):
    lines = [log_line(epoch) | OURS for epoch in range(epochs)]
    runs = [write_run("base", lines[:1], SETTINGS), write_run("run", lines, {**SETTINGS, "reweight": reweight})]
    assert main(["compare", *map(str, runs)]) == 0
    printed = capfd.readouterr().out
    said = f"run: weights from epoch {start} on, of {epochs}. With start_epoch at half of the epochs, overall accuracy"
    assert (f"{said} was {points} points higher in the benchmark" in printed) == (start is not None)
    assert ("points higher in the benchmark" in printed) == (start is not None)


@pytest.mark.parametrize(("loss_type", "noted"), [("CE", True), ("LA", False)])
def test_in_lift_the_loss_decides_between_weights_and_margins(loss_type, noted):
    args = {"loss_type": loss_type, "reweight": {"type": "class_volume"}}
    assert early_start(get_host("lift"), args, 10).startswith("weights from epoch 1 on, of 10") == noted


@pytest.mark.parametrize(("lines", "counts_as", "warns"), [
    ([log_line(0)], "none", True),
    ([log_line(0) | OURS], "class_volume", False),
    ([log_line(0), log_line(1) | OURS], "class_volume", False),  # went on from a baseline
    ([log_line(None)], "class_volume", False),  # a test alone, which shows neither
])  # fmt: skip
@pytest.mark.parametrize("own", [False, True])
def test_a_run_counts_as_reweighted_only_where_its_lines_show_it(write_run, lines, counts_as, warns, own):
    if own and "epoch" not in lines[0]:
        pytest.skip("a recorded run has epochs only")
    args = {**SETTINGS, "reweight": {"type": "class_volume"}}
    folder = write_run("run", lines, None if own else args)
    if own:
        (folder / "reweight_settings.json").write_text(json.dumps(args))
    found = load(str(folder))
    assert reweight_of(found) == counts_as
    said = f"{folder}/log.txt: its settings ask for reweight type class_volume"
    assert [said in warning for warning in found.runs[0].warnings] == [True] * warns


def test_what_differs_is_listed_in_a_fixed_order_and_of_paths_the_last_part_counts(runs):
    other = {**SETTINGS, "lr": 0.5, "model": "LGR_vit16", "aa": "x", "cvlp_path": "/there/two", "txt_path": "/b/t.npy"}
    one = {**SETTINGS, "aa": "y", "cvlp_path": "/here/one", "txt_path": "/a/t.npy"}
    verdict = compare_settings(runs(one, other))
    assert verdict.comparable is False
    assert [(setting.name, *setting.values) for setting in verdict.differing] == [
        ("model", "LGR_r50", "LGR_vit16"),
        ("lr", "0.001", "0.5"),
        ("aa", "y", "x"),
        ("cvlp_path", "one", "two"),
    ]
    assert str(verdict) == "Not comparable: different settings (model, lr, aa, cvlp_path); see the table."


def test_only_settings_that_are_known_of_all_runs_are_counted(write_run):
    known = load(str(write_run("a", None, SETTINGS | {"cvlp_path": "/here/images"})))
    text = "Namespace(data_set='IMNET_LT', nb_classes=1000, cvlp_path='/there/images')\n"
    printed = load(str(write_run("b", None, None, text)))
    verdict = compare_settings([known, printed])
    assert f"the same in all {verdict.checked} settings" in str(verdict)
    assert verdict.checked == len({"data_set", "nb_classes", "cvlp_path"})
    assert verdict.moved == ("cvlp_path",)
    recorded = {"c": {"reweight": "not the plug-in's"}, "d": {"nb_classes": 3, "reweight": {"type": "class_volume"}}}
    for name, settings in recorded.items():
        (write_run(name, [log_line(0) | OURS]) / "reweight_settings.json").write_text(json.dumps(settings))
    verdict = compare_settings([load(str(known.runs[0].path.parent / name)) for name in recorded])
    assert (verdict.comparable, verdict.differing) == (None, ())
    assert str(verdict) == "Cannot tell whether these are comparable: no setting is known of all of them."


def test_a_data_set_that_only_one_run_or_the_reference_names_is_a_difference(runs):
    unnamed = {name: value for name, value in SETTINGS.items() if name not in ("data_set", "nb_classes")}
    named, alone = runs(SETTINGS, unnamed)
    assert differing([named, alone])["data_set"] == ("IMNET_LT", "not set")
    assert "data_set" in differing([alone], find_reference("imagenet_lt/r50"))


def test_a_run_that_ended_earlier_is_listed(write_run):
    runs = [load(str(write_run(f"{epochs}", [log_line(e) for e in range(epochs)], SETTINGS))) for epochs in (2, 1)]
    assert differing(runs) == {"last epoch in the log": ("1", "0")}


def test_without_a_whole_checkpoint_the_stdout_log_serves_else_settings_are_neither_equal_nor_different(write_run):
    known, unknown = load(str(write_run("a", None, SETTINGS))), load(str(write_run("b")))
    verdict = compare_settings([known, unknown])
    assert (verdict.comparable, verdict.unknown) == (None, ("b",))
    assert "Cannot tell" in str(verdict)
    printed = load(str(write_run("c", None, None, "Namespace(data_set='IMNET_LT', epochs=2, lr=0.25)\n")))
    assert printed.runs[0].args_source.name == "train.log"
    assert [*differing([known, printed])] == ["lr"]
    (write_run("d") / "checkpoint.pth").write_bytes(b"PK\3\4 and no more")
    damaged = load(str(unknown.runs[0].path.parent / "d"))
    assert "killed while writing" in damaged.runs[0].warnings[0]
    assert reweight_of(damaged) == "?"


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (SETTINGS, SETTINGS | {"data_set": "INAT"}, "run1 is of data set INAT, but .*run0 of IMNET_LT: not comparable"),
        (SETTINGS, SETTINGS | {"nb_classes": 365}, "this many classes: 365, but .*run0 of 1000: not comparable"),
        ({"data_path": "data/digits"}, {"data_path": "data/letters"}, "of the data in data/letters"),
    ],
)
def test_different_data_sets_are_refused(runs, one, other, message):
    with pytest.raises(ReportError, match=message):
        compare_settings(runs(one, other))


def test_other_sizes_without_settings_and_a_reference_of_another_data_set_are_refused(runs, write_run):
    made = [load(str(write_run("a"))), load(str(write_run("b", [{**log_line(0), "n_parameters": 7}])))]
    with pytest.raises(ReportError, match=r"b trained 7 parameters, but .*a 123"):
        compare_settings(made)
    with pytest.raises(ReportError, match="IMNET_LT, but the reference inat2018/r50 of INAT"):
        compare_settings(runs(SETTINGS, SETTINGS), find_reference("inat2018/r50"))


def test_epochs_and_backbone_are_compared_with_the_reference(runs):
    made = runs({**SETTINGS, "epochs": 50}, {**SETTINGS, "epochs": 50})
    for methods in (made, made[:1]):
        verdict = compare_settings(methods, find_reference("imagenet_lt/r50"))
        assert verdict.comparable
        assert "the same as imagenet_lt/r50 in what is published (data_set, model, epochs)" in str(verdict)
        assert ("the same in all 6 settings that matter" in str(verdict)) == (len(methods) > 1)
    assert differing(made, find_reference("imagenet_lt/vit16")) == {"model": ("LGR_r50", "LGR_r50", "vit16")}


def test_seeds_that_differ_in_more_than_the_seed_are_listed(write_run):
    folder = write_run("a", None, {**SETTINGS, "seed": 0}).parent
    write_run("b", None, {**SETTINGS, "seed": 1, "lr": 0.5})
    runs = [load(f"m={folder}/a,{folder}/b"), load(str(write_run("c", None, SETTINGS)))]
    assert differing(runs) == {"lr": ("0.001 / 0.5", "0.001")}
    write_run("d", [log_line(0) | OURS, log_line(1) | OURS], {**SETTINGS, "reweight": {"type": "inverse"}})
    runs[0] = load(f"m={folder}/c,{folder}/d")
    assert differing(runs) == {"reweight": ("inverse / none", "none")}
    write_run("unknown", [log_line(0) | OURS, log_line(1) | OURS])
    runs[0] = load(f"m={folder}/d,{folder}/unknown")
    assert compare_settings(runs).comparable is None
