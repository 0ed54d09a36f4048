"""The names of the classes, from the files of a checkout's data sets."""

import json
from pathlib import Path

import pytest

from vlltr_plugin.hosts.vl_ltr.host import class_names

NAMES = [f"thing {index}" for index in range(12)]


def checkout_with(folder: Path, name: str, text: str, of: str = "some") -> Path:
    (folder / "data" / of).mkdir(parents=True)
    (folder / "data" / of / name).write_text(text)
    (folder / "main.py").touch()
    run = folder / "checkpoints" / "run"
    run.mkdir(parents=True)
    return run


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labels.txt", "".join(f"n{900 + i} {99 - i} thing_{i}\n" for i in reversed(range(12)))),
        ("labels.txt", "".join(f"/t/thing_{i} {i}\n" for i in reversed(range(12)))),
        ("categories.json", json.dumps([{"id": i, "name": f"thing {i}"} for i in range(12)])),
    ],
    ids=["imagenet", "places", "inat"],
)
def test_names_are_found_around_the_run_in_every_format(tmp_path: Path, file: str, text: str) -> None:
    run = checkout_with(tmp_path / "checkout", file, text)
    assert class_names(run, 12) == NAMES
    assert class_names(tmp_path / "checkout", 12) == NAMES
    assert class_names(run, 13) is None


def test_names_that_disagree_broken_files_and_other_checkouts_give_none(tmp_path: Path) -> None:
    run = checkout_with(tmp_path / "checkout", "categories.json", json.dumps([{"name": n} for n in NAMES]))
    assert class_names(run, 12) == NAMES
    (tmp_path / "checkout/data/other").mkdir()
    other = tmp_path / "checkout/data/other/labels.txt"
    other.write_text("not\nin any \x00 format\n")
    assert class_names(run, 12) == NAMES
    other.write_text("".join(f"/x/else_{i} {i}\n" for i in range(12)))
    assert class_names(run, 12) is None
    assert class_names(run, 12, folder="../../data/some") == NAMES
    other.unlink()
    assert class_names(run, 12) == NAMES
    (tmp_path / "checkout/main.py").unlink()
    assert class_names(run, 12) is None
