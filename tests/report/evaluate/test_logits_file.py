"""`vlltr-plugin evaluate --logits`: any model's logits, without a checkout, a config or a checkpoint."""

import contextlib
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from report_lines import PNG, refused

from vlltr_plugin import InverseFrequency, ReweightedLoss, RunRecorder
from vlltr_plugin.cli import main
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.compare import load
from vlltr_plugin.report.evaluate.logits_file import read_arrays
from vlltr_plugin.report.tradeoff import trade_off

pytest.importorskip("matplotlib")
pytest.importorskip("torchmetrics")

COUNTS = np.array([120, 60, 30, 10])
LABELS = np.repeat(np.arange(4), 25)


def logits(labels: np.ndarray = LABELS, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(len(labels), 4)) + np.log(COUNTS)
    noise[np.arange(len(labels)), labels] += 1.5
    return noise.astype(np.float32)


ARRAYS = {"logits": logits(), "labels": LABELS, "counts": COUNTS}


def test_class_names_that_are_not_utf_8_are_written(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS, names=np.array([f"caf\udce9 {n}" for n in range(4)]))
    assert main(["evaluate", "--logits", str(tmp_path / "a.npz")]) == 0
    for name in ("evaluation.json", "per_class.csv"):
        assert "caf\\udce9" in (tmp_path / "a" / name).read_text().replace("\\\\", "\\")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lift.npz"
    np.savez(path, **ARRAYS)
    return path


def call(file: Path, *more: str) -> int:
    return main(["evaluate", "--logits", str(file), *more])


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    with (folder / "tradeoff.csv").open() as table:
        return json.loads((folder / "evaluation.json").read_text()), list(csv.DictReader(table))


def test_all_files_are_beside_it_and_hold_the_numbers_of_the_function(file, capsys):
    assert call(file) == 0
    folder = file.with_suffix("")
    pictures = {"tradeoff.png", "reliability.png", "confusion.png"}
    names = {"evaluation.json", "per_class.csv", "tradeoff.csv", "tradeoff.npz"} | pictures
    assert {path.name for path in folder.iterdir()} == names
    assert all((folder / name).read_bytes().startswith(PNG) for name in pictures)
    expected = trade_off(ARRAYS["logits"], LABELS, COUNTS)
    evaluation, rows = read(folder)
    assert [{name: float(cell) for name, cell in row.items()} for row in rows] == expected.rows
    told = evaluation["trade_off"]
    assert (told["prior"], told["groups"], told["rows"]) == ("counts", "upstream", expected.rows)
    assert evaluation["rules"]["single"]["top1"] == expected.rows[0]["top1"]
    assert "Trade-off: logits - tau * log(counts)" in (printed := capsys.readouterr().out)
    assert "chosen on the test set itself" in printed


def test_the_draws_in_the_file_are_the_prior_unless_the_counts_are_wanted(file):
    draws = np.array([5.0, 9.0, 2.0, 7.0])
    np.savez(file, **ARRAYS, draws=draws)
    for more, prior in (([], draws), (["--prior", "draws"], draws), (["--prior", "counts"], None)):
        assert call(file, "--tau", "1", *more) == 0
        told = read(file.with_suffix(""))[0]["trade_off"]
        assert told["rows"] == trade_off(ARRAYS["logits"], LABELS, COUNTS, prior, taus=[0, 1]).rows
        assert told["prior"] == ("counts" if prior is None else "draws")


def test_tau_groups_split_and_out_are_as_asked(file, tmp_path):
    np.savez(file, **ARRAYS | {"counts": np.array([120, 100, 20, 10])})
    out = tmp_path / "elsewhere"
    assert call(file, "--tau", "1.5", "-0.5", "--groups", "others", "--split", "val", "--out", str(out)) == 0
    evaluation, rows = read(out)
    assert [row["tau"] for row in rows] == ["-0.5", "0.0", "1.5"]
    hits = ARRAYS["logits"].argmax(axis=1) == LABELS
    assert float(rows[1]["medium"]) == pytest.approx(100 * hits[(LABELS == 1) | (LABELS == 2)].mean())
    assert evaluation["split"] == "val"


@pytest.mark.parametrize(
    ("groups", "missing"), [("100,20", ""), ("200,20", "many"), ("100,5", "few"), ("200,5", "many- and few")]
)
def test_a_curve_without_a_picture_says_which_group_has_no_images(groups, missing, file, capsys):
    assert call(file, "--groups", groups) == 0
    assert file.with_suffix("").joinpath("tradeoff.png").exists() == (not missing)
    printed = capsys.readouterr().out
    assert ("No picture of the curve" in printed) == bool(missing)
    assert f"no images of {missing}-shot classes" in printed or not missing


def test_tau_is_chosen_on_validation_logits_where_there_are_any(file, capsys):
    labels = np.repeat(np.arange(4), [100, 3, 2, 1])  # where adjusting does not pay
    np.savez(file, **ARRAYS, val_logits=logits(labels, 1), val_labels=labels)
    assert call(file) == 0
    choice = read(file.with_suffix(""))[0]["trade_off"]["choice"]
    expected = trade_off(logits(labels, 1), labels, COUNTS)
    assert (choice["split"], choice["same_images"]) == ("val", False)
    assert choice["top1"] == [row["top1"] for row in expected.rows]
    assert choice["tau"] == expected.best().tau < trade_off(ARRAYS["logits"], LABELS, COUNTS).best().tau
    assert f"Best top-1 at tau {choice['tau']:g}, chosen on the validation split." in capsys.readouterr().out
    assert call(file, "--choose-tau", "here") == 0
    choice = read(file.with_suffix(""))[0]["trade_off"]["choice"]
    assert choice["same_images"]
    assert choice["tau"] > 0
    assert f"LogitAdjustment(counts, tau={choice['tau']:g})" in " ".join(capsys.readouterr().out.split())


def test_the_logits_are_never_replaced_by_the_curve_of_the_same_name(tmp_path, capsys):
    np.savez(tmp_path / "tradeoff.npz", **ARRAYS)
    before = (tmp_path / "tradeoff.npz").read_bytes()
    line = refused(capsys, tmp_path, "evaluate", "--logits", str(tmp_path / "tradeoff.npz"), "--out", str(tmp_path))
    assert "another folder" in line
    assert (tmp_path / "tradeoff.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({name: None}, f"but {name} is missing") for name in ARRAYS),
        ({"logits": np.full((100, 4), np.nan)}, "finite logits but those of image 0"),
        ({"labels": LABELS.astype(object)}, "it holds an object array"),
        (
            {"val_logits": np.full((9, 4), np.nan), "val_labels": np.zeros(9)},
            "Of val_logits and val_labels: Expected finite logits",
        ),
        ({"val_logits": np.zeros((9, 4))}, "val_logits and val_labels, or neither"),
        ({"val_labels": np.zeros(9)}, "got val_labels alone"),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(file, capsys, changes, message):
    np.savez(file, **{name: array for name, array in (ARRAYS | changes).items() if array is not None})
    error = refused(capsys, file.parent, "evaluate", "--logits", str(file))
    assert message in error
    assert str(file) in error


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 but no more", b"0.1,0.2\n", "npy", "broken"])
def test_a_file_of_another_kind_is_one_line_that_says_what_is_wanted(file, capsys, content):
    if content == "npy":
        with file.open("wb") as stream:
            np.save(stream, ARRAYS["logits"])
    elif content == "broken":
        whole = packed(file)
        file.write_bytes(whole[:100] + b"\xff" * 50 + whole[150:])
    else:
        file.write_bytes(content)
    line = refused(capsys, file.parent, "evaluate", "--logits", file)
    assert "expected an .npz" in line
    assert "numpy.savez(FILE, logits=..., labels=..., counts=...)" in line


def packed(file: Path) -> bytes:
    np.savez_compressed(file, **ARRAYS)
    return file.read_bytes()


def test_a_packed_file_with_a_wrong_byte_raises_nothing_else(file):
    whole = packed(file)
    for place in range(0, 400, 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(ReportError, OSError):  # some bytes do not matter
            read_arrays(file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--logits", "{file}", "--prior", "draws"], "draws for --prior draws"),
        (["--logits", "{file}", "--choose-tau", "val"], "val_logits and val_labels"),
        (["--logits", "{file}", "--tau", "nan"], "finite numbers"),
        (["--logits", "{file}", "--config", "x.py"], "--logits alone but got config"),
        (["--logits", "{file}", "--limit", "5"], "--logits alone but got limit"),
        (["{file}", "--logits", "{file}"], "--logits alone but got checkpoint"),
        (["--logits", "nothing.npz"], "nothing.npz"),
        (["--logits", "{file}", "--out", "{file}"], "is a file"),
        (["{file}"], "give it as --logits"),
        ([], "or --logits FILE"),
    ],
)
def test_wrong_arguments_are_one_line(file, capsys, arguments, message):
    given = [argument.format(file=file) for argument in arguments]
    assert message in refused(capsys, file.parent, "evaluate", *given)


LARGE = """
import sys
import numpy as np
classes, images = 8142, 24426
generator = np.random.default_rng(0)
logits = np.empty((images, classes), dtype=np.float32)
for start in range(0, images, 1000):
    logits[start : start + 1000] = generator.standard_normal(logits[start : start + 1000].shape, dtype=np.float32)
np.savez(sys.argv[1], logits=logits, labels=np.arange(images) % classes, counts=1 + 1000 // (1 + np.arange(classes)))
"""


@pytest.mark.slow
def test_8142_classes_and_24426_images_fit_into_2_gigabytes(tmp_path):
    file = tmp_path / "large.npz"
    subprocess.run([sys.executable, "-c", LARGE, str(file)], check=True)
    code = "import resource, sys; from vlltr_plugin.cli import main; assert main(sys.argv[1:]) == 0; "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    done = subprocess.run(
        [sys.executable, "-c", code, "evaluate", "--logits", str(file)], check=True, capture_output=True, text=True
    )
    assert int(done.stdout.split()[-1]) < 2 * 10**6  # KiB


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_probabilities_become_logarithms_with_a_note(file, capsys, dtype):
    wide = ARRAYS["logits"].astype(np.float64)
    odds = np.exp(wide - wide.max(axis=1, keepdims=True))
    assert call(file) == 0
    expected = read(file.with_suffix(""))[0]
    assert "are probabilities (" not in capsys.readouterr().out
    np.savez(file, **ARRAYS | {"logits": (odds / odds.sum(axis=1, keepdims=True)).astype(dtype)})
    assert call(file) == 0
    found = read(file.with_suffix(""))[0]
    assert "logits are probabilities (" in capsys.readouterr().out
    assert found["rules"]["single"]["ece"] == pytest.approx(expected["rules"]["single"]["ece"], abs=0.3)
    assert [row["top1"] for row in found["trade_off"]["rows"]] == pytest.approx(
        [row["top1"] for row in expected["trade_off"]["rows"]], abs=1
    )


def test_counts_of_the_test_images_and_a_best_tau_at_the_edge_of_the_sweep_are_pointed_out(file, capsys):
    counts, edge = "counts equal the number of test images", "the largest tau swept, the edge of the sweep"
    assert call(file) == 0
    printed = capsys.readouterr().out
    assert counts not in printed
    assert edge not in printed
    assert call(file, "--tau", "0", "0.25") == 0
    assert edge in capsys.readouterr().out
    np.savez(file, **ARRAYS | {"counts": np.bincount(LABELS)})
    assert call(file) == 0
    assert counts in capsys.readouterr().out


def test_a_curve_without_class_means_is_still_compared(file, capsys):
    assert call(file) == 0
    path = file.with_suffix("") / "evaluation.json"

    def compared() -> list[str]:
        capsys.readouterr()
        assert main(["compare", str(path.parent), str(path.parent)]) == 0
        return capsys.readouterr().out.split()

    expected, content = compared(), json.loads(path.read_text())
    assert "curve" in expected
    for point in content["trade_off"]["rules"]["single"]:
        del point["macro_top1"]
    path.write_text(json.dumps(content))
    assert compared() == expected


def test_a_log_of_no_known_host_beside_the_logits_tells_nothing(file, capsys):
    (file.parent / "log.txt").write_text("2026-01-01 INFO epoch 1 acc 0.5\n")
    assert call(file) == 0
    assert "logs" not in capsys.readouterr().out
    assert read(file.with_suffix(""))[0]["host"] is None
    assert "VL-LTR" not in load(str(file.with_suffix(""))).host.title


def test_counts_in_another_order_than_the_run_s_are_refused(file, capsys):
    criterion = ReweightedLoss(InverseFrequency(COUNTS[::-1].tolist()))
    criterion(torch.randn(8, 4, requires_grad=True), torch.arange(8) % 4)
    RunRecorder(file.parent, criterion).end_epoch(overall=50.0)
    assert "whose class counts are" in refused(capsys, file.parent, "evaluate", "--logits", file)
