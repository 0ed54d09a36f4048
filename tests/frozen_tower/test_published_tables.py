"""Every number of a marked table in the documents is that of the committed results."""

import re

import pytest
from published import DOCUMENTS, MARKED, ROOT, published

PARTS = {
    "README.md": ("## What to expect", "## See it work"),
    "tests/benchmarks/frozen_tower.md": ("# Frozen tower", ""),
    "tests/benchmarks/cifar_lt.md": ("# CIFAR-LT", ""),
    "tests/benchmarks/cost.md": ("# Cost", ""),
}
"""From which heading to which (or to the end) every table is recomputed; elsewhere those with a marker."""

BY_OTHERS = ("| n | m | m draws taken for m images |", "| question |")
"""Headers of tables that their own script prints, and of answers in words."""


@pytest.fixture(scope="module")
def recomputed() -> dict[str, str]:
    return published()


def numbers(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.strip(" |").split("|")] for row in table.strip().splitlines()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_tables_are_those_of_the_results(document: str, recomputed: dict[str, str]) -> None:
    found = MARKED.findall((ROOT / document).read_text("utf-8"))
    assert found
    for _, _, name, shown in found:
        assert numbers(shown) == numbers(recomputed[name]), f"{document}, {name}: run tests/benchmarks/published.py"


@pytest.mark.parametrize("document", PARTS)
def test_no_table_of_results_is_typed_by_hand(document: str) -> None:
    start, end = PARTS[document]
    text = ("\n" + (ROOT / document).read_text("utf-8")).split(f"\n{start}\n")[1]
    text = text.split(f"\n{end}\n")[0] if end else text
    typed = re.findall(r"(?<!\|\n)^\|.*$", MARKED.sub("", text), flags=re.MULTILINE)
    assert [line for line in typed if not line.startswith(BY_OTHERS)] == []
