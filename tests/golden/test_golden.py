"""Outputs of fixed runs equal the stored ones: texts to the letter, numbers up to rounding. See `make.py`.

Processors with and without AVX-512 round differently; after two epochs of training numbers differ by up to 2e-5.
"""

import json
import re
from itertools import zip_longest
from typing import Any

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
pytest.importorskip("torchmetrics")
pytest.importorskip("yacs")

from golden.make import STORED, make

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make(tmp_path_factory.mktemp("golden"))


def lines(name: str, text: str) -> list[str]:
    """Of a JSON file each value with its place, whatever their order; of any other its lines."""
    if not name.endswith(".json"):
        return text.splitlines()

    def flat(value: Any, place: str) -> list[str]:
        if isinstance(value, dict | list) and value:
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            return [line for key, inner in pairs for line in flat(inner, f"{place}.{key}")]
        return [f"{place}: {json.dumps(value)}"]

    return sorted(flat(json.loads(text), ""))


def same(found: str, stored: str) -> bool:
    """Whether two lines are equal but for rounding."""
    if NUMBER.sub("#", found) != NUMBER.sub("#", stored):
        return False
    numbers = (list(map(float, NUMBER.findall(line))) for line in (found, stored))
    return all(a == pytest.approx(b, rel=1e-4, abs=1e-5) for a, b in zip(*numbers, strict=True))


def test_the_outputs_are_these(made: dict[str, str]) -> None:
    assert set(made) == {str(path.relative_to(STORED)) for path in STORED.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", sorted(str(path.relative_to(STORED)) for path in STORED.rglob("*.*")))
def test_output_is_the_stored_one(name: str, made: dict[str, str]) -> None:
    found, stored = (lines(name, text) for text in (made[name], (STORED / name).read_text("utf-8")))
    pairs = zip_longest(found, stored, fillvalue="<no line>")
    differences = [f"- {old}\n+ {new}" for new, old in pairs if not same(new, old)]
    assert not differences, "\n".join([f"{len(differences)} lines differ", *differences[:10]])


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        ("alpha 1.25001 of 3", True),
        ("alpha 1.251 of 3", False),
        ("alpha 1.25 of 4", False),
        ("beta 1.25 of 3", False),
    ],
)
def test_a_changed_number_or_word_is_a_difference(other: str, equal: bool) -> None:
    assert same("alpha 1.25 of 3", other) == equal
