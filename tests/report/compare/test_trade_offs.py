"""`compare` puts evaluated runs on their baseline's trade-off curve."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from vlltr_plugin.cli import main
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.compare import run_compare
from vlltr_plugin.report.tradeoff import place, trade_off

pytest.importorskip("matplotlib")
pytest.importorskip("torchmetrics")

COUNTS = np.array([300, 150, 60, 30, 8, 3])
LABELS = np.repeat(np.arange(6), 40)


def logits(lean: float, seed: int, labels: np.ndarray = LABELS) -> np.ndarray:
    """Right more often than not, leaning to large classes."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), 6)) + lean * np.log(COUNTS)
    noise[np.arange(len(labels)), labels] += 3 if lean == 1 else 2
    return noise


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of evaluations: base, two seeds of a run, one with validation logits, one without many-shot classes."""
    folder = tmp_path_factory.mktemp("evaluated")
    validation = {"val_logits": logits(0.5, 9), "val_labels": LABELS}
    for name, given in {
        "base": {"logits": logits(1.0, 0)},
        "run1": {"logits": logits(0.4, 1)},
        "run2": {"logits": logits(0.4, 2)},
        "chosen": {"logits": logits(0.4, 3), **validation},
        "small": {"logits": logits(0.4, 4), "counts": np.full(6, 50)},
        "other": {"logits": logits(0.4, 5), "labels": LABELS[::-1].copy()},
    }.items():
        np.savez(folder / f"{name}.npz", **({"labels": LABELS, "counts": COUNTS} | given))
        assert main(["evaluate", "--logits", str(folder / f"{name}.npz")]) == 0
    return folder


def report(evaluated: Path, out: Path, *runs: str) -> tuple[dict, str]:
    texts = [run.format(evaluated) for run in runs]
    with (out / "printed").open("w") as file:
        run_compare(texts, out=out, console=Console(file=file, width=400))
    return json.loads((out / "report.json").read_text()), (out / "printed").read_text()


def test_each_run_is_placed_as_trained_and_at_its_chosen_tau(evaluated: Path, tmp_path: Path) -> None:
    content, printed = report(evaluated, tmp_path, "{}/base", "{}/chosen")
    base, run = (trade_off(logits(lean, seed), LABELS, COUNTS) for lean, seed in ((1.0, 0), (0.4, 3)))
    tau = trade_off(logits(0.5, 9), LABELS, COUNTS).best().tau
    assert tau > 0
    rows = content["trade_off"]["rows"]
    assert [(row["run"], row["tau"]) for row in rows] == [
        ("base", 0),
        ("base", base.best().tau),
        ("chosen", 0),
        ("chosen", tau),
    ]
    assert [row["chosen"] for row in rows] == [
        None,
        "chosen on the test set itself, so slightly optimistic",
        None,
        "chosen on the validation split",
    ]
    assert [row["placement"] for row in rows[:2]] == [None, None]
    for row, at in zip(rows[2:], (0, tau), strict=True):
        expected = place(run, base, at, names=("chosen", "base"))
        assert row["placement"]["few"] == vars(expected.few)
        assert row["placement"]["overall"] == vars(expected.overall)
        (told,) = [told for told in run.rows if told["tau"] == at]
        assert {name: row[name] for name in told} == told
    sentence = str(place(run, base, names=("chosen", "base")))
    assert rows[2]["placement"]["sentence"] == sentence
    for text in (printed, (tmp_path / "report.md").read_text()):
        assert sentence in text
        assert f"chosen: tau {tau:g} chosen on the validation split." in text
        assert "chosen on the test set itself" in text
    assert (tmp_path / "tradeoff.png").read_bytes().startswith(b"\x89PNG")
    assert "(tradeoff.png)" in (tmp_path / "report.md").read_text()


def test_seeds_are_placed_by_their_mean(evaluated: Path, tmp_path: Path) -> None:
    content, _ = report(evaluated, tmp_path, "{}/base", "run={0}/run1,{0}/run2")
    base, *runs = (trade_off(logits(lean, seed), LABELS, COUNTS) for lean, seed in ((1.0, 0), (0.4, 1), (0.4, 2)))
    (row,) = [row for row in content["trade_off"]["rows"] if row["run"] == "run" and row["tau"] == 0]
    assert row["placement"]["few"] == vars(place(runs, base).few)
    for name in ("top1", "many", "medium", "few"):
        assert row[name] == pytest.approx(np.mean([one.rows[0][name] for one in runs]))


def test_tau_of_seeds_of_which_one_has_no_validation_split_is_chosen_on_the_test_set_of_all(
    evaluated: Path, tmp_path: Path
) -> None:
    for seeds in ("{0}/chosen,{0}/run1", "{0}/run1,{0}/chosen"):
        content, _ = report(evaluated, tmp_path, "{}/base", f"run={seeds}")
        runs = [trade_off(logits(0.4, seed), LABELS, COUNTS) for seed in (3, 1)]
        top1 = {
            row["tau"]: (row["top1"] + other["top1"]) / 2
            for row, other in zip(runs[0].rows, runs[1].rows, strict=False)
        }
        row = content["trade_off"]["rows"][-1]
        assert row["chosen"] == "chosen on the test set itself, so slightly optimistic"
        assert row["tau"] == max(top1, key=lambda tau: (top1[tau], -tau))


def test_what_has_no_curve_is_named_and_the_rest_is_compared_as_ever(evaluated: Path, tmp_path: Path) -> None:
    for name, spoil in {
        "gone": lambda folder, content: (folder / "tradeoff.npz").unlink(),
        "stale": lambda folder, content: shutil.copy(evaluated / "run2/tradeoff.npz", folder),
    }.items():
        folder = Path(shutil.copytree(evaluated / "run1", tmp_path / name))
        content = json.loads((folder / "evaluation.json").read_text())
        spoil(folder, content)
        (folder / "evaluation.json").write_text(json.dumps(content))
        for runs in (["{}/base", str(folder)], [str(folder), "{}/base"]):
            content, printed = report(evaluated, tmp_path, *runs)
            assert f"{name} has no trade-off curve: " in printed
            assert {row["run"] for row in content["trade_off"]["rows"]} == {"base"}
            assert all(row["placement"] is None for row in content["trade_off"]["rows"])
            assert content["runs"][1]["test"]["overall"]["mean"] > 0


@pytest.mark.parametrize("order", [1, -1])
def test_without_the_groups_or_with_other_counts_nothing_is_placed(evaluated: Path, tmp_path: Path, order: int) -> None:
    content, printed = report(evaluated, tmp_path, *["{}/base", "{}/small"][::order])
    assert "small is not placed on a curve: Expected test images of many-shot classes" in printed
    assert all(row["placement"] is None for row in content["trade_off"]["rows"])


def test_logs_alone_say_nothing_of_curves(write_run, tmp_path: Path) -> None:
    comparison = run_compare(
        [str(write_run("a")), str(write_run("b"))], out=tmp_path / "out", console=Console(quiet=True)
    )
    assert comparison.trade_offs is None
    assert json.loads((tmp_path / "out/report.json").read_text())["trade_off"] is None
    assert not (tmp_path / "out/tradeoff.png").exists()


def test_other_images_are_refused(evaluated: Path) -> None:
    with pytest.raises(ReportError, match="on other images"):
        run_compare([str(evaluated / "base"), str(evaluated / "other")])


@pytest.mark.parametrize("key", ["rules", "choice", "prior", "groups", "sha256"])
def test_a_curve_with_keys_missing_is_one_line(evaluated: Path, tmp_path: Path, key: str) -> None:
    folder = Path(shutil.copytree(evaluated / "run1", tmp_path / "odd"))
    content = json.loads((folder / "evaluation.json").read_text())
    del content["trade_off"][key]
    (folder / "evaluation.json").write_text(json.dumps(content))
    with pytest.raises(ReportError, match="missing or has a wrong value"):
        run_compare([str(evaluated / "base"), str(folder)])
