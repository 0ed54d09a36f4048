"""Names of the classes from the files that VL-LTR's data sets come with."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

LEVELS_UP = 5  # from a run's folder to its checkout: checkpoints/<name> is two, people nest deeper


def class_names(start: Path, num_classes: int, folder: str = "") -> list[str] | None:
    """Looks for `labels.txt` or `categories.json` below `data/` of the checkout that a path lies in."""
    start = start.resolve()
    if folder:
        names = _fitting([start / folder], num_classes)
        if names:
            return names[0]
    for place in [start, *start.parents][: LEVELS_UP + 1]:
        if (place / "data").is_dir() and (place == start or (place / "main.py").is_file()):
            names = _fitting(sorted((place / "data").iterdir()), num_classes)
            return names[0] if names and all(other == names[0] for other in names) else None
    return None


def _fitting(folders: list[Path], num_classes: int) -> list[list[str]]:
    found = [names for folder in folders for names in _names_in(folder)]
    return [names for names in found if len(names) == num_classes]


def _names_in(folder: Path) -> Iterator[list[str]]:
    """The names in the files of one data set; none from a file in another format."""
    for name, parse in (("labels.txt", _from_labels), ("categories.json", _from_categories)):
        try:
            names = parse((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            continue
        if names:
            yield names


def _from_labels(text: str) -> list[str]:
    """`<wordnet id> <number> <name>`, numbered in the order of the ids; or `/<letter>/<name> <number>`."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if all(len(row) == 2 for row in rows):
        by_number = {int(number): re.sub(r"^/\w/", "", name) for name, number in rows}
        names = [by_number[number] for number in range(len(by_number))]
    else:
        names = [row[-1] for row in sorted(rows)]
    return [name.replace("_", " ").replace("/", " ").strip() for name in names]


def _from_categories(text: str) -> list[str]:
    return [str(category["name"]) for category in json.loads(text)]
