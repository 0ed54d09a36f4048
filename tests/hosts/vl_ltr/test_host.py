"""The names of the classes, from the files of a checkout's data sets."""

import json
from pathlib import Path

import pytest

from vlltr_plugin.hosts.vl_ltr.host import class_names

NAMES = [f"thing {index}" for index in range(12)]


LABELS = "".join(f"/t/thing_{i} {i}\n" for i in reversed(range(12)))
FILES = {
    "imagenet": ("labels.txt", "".join(f"n{900 + i} {99 - i} thing_{i}\n" for i in reversed(range(12)))),
    "places": ("labels.txt", LABELS),
    "inat": ("categories.json", json.dumps([{"id": i, "name": name} for i, name in enumerate(NAMES)])),
}


@pytest.mark.parametrize(("file", "text"), FILES.values(), ids=FILES)
def test_names_are_found_around_the_run_unless_files_disagree(tmp_path: Path, file: str, text: str) -> None:
    run, data = tmp_path / "checkpoints" / "run", tmp_path / "data"
    for folder in (run, data / "some", data / "other"):
        folder.mkdir(parents=True)
    (tmp_path / "main.py").touch()
    (data / "some" / file).write_text(text)
    assert class_names(run, 12) == class_names(tmp_path, 12) == NAMES
    assert class_names(run, 13) is None
    other = data / "other" / "labels.txt"
    other.write_text("not\nin any \x00 format\n")
    assert class_names(run, 12) == NAMES
    other.write_text(LABELS.replace("thing", "else"))
    assert class_names(run, 12) is None
    assert class_names(run, 12, folder="../../data/some") == NAMES
    other.unlink()
    assert class_names(run, 12) == NAMES
    (tmp_path / "main.py").unlink()  # no checkout of this host
    assert class_names(run, 12) is None
