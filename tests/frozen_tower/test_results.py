"""Reading the benchmark's lines: those of a seed are joined, and differences are paired by seed."""

import json
from pathlib import Path
from typing import Any

import pytest
from frozen_tower_results import read

CURVE = [[50, 80, 50, 20], [52, 70, 50, 30]]


def line(seed: int, heights: bool = True, **methods: float) -> dict[str, Any]:
    points = {name: {"all": value, "many": 80, "medium": 50, "few": 20} for name, value in methods.items()}
    found = {"cell": "a", "seed": seed, "curve": CURVE, "methods": points}
    exact = {"best": [1.5, 60], "heights": {name: [value - 50, 0] for name, value in methods.items()}}
    return found | (exact if heights else {})


@pytest.fixture
def cell(tmp_path: Path) -> Any:
    lines = line(0, ce=50, dv=51), line(1, ce=50, dv=53), line(0, ce=40, bv=54), line(2, False, ce=50, bv=50.5)
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return read([path])["a"]


def test_lines_of_a_seed_are_joined_and_the_first_counts(cell: Any) -> None:
    assert [each["seed"] for each in cell.lines] == [0, 1, 2]
    assert cell.methods == ["ce", "dv", "bv"]
    assert [point.all for point in cell.points("ce")] == [50, 50, 50]
    assert [each["seed"] for each in cell.having("bv")] == [0, 2]


def test_differences_are_paired_by_seed(cell: Any) -> None:
    assert str(cell.difference("dv", "ce")) == "+2.00 ± 12.71"
    assert str(cell.difference("bv", "dv")) == "+3.00"  # one seed has both
    assert str(cell.difference("dv", "ce", "height")) == "+2.00 ± 12.71"


def test_without_exact_heights_the_curve_is_interpolated(cell: Any) -> None:
    assert [height.all for height in cell.heights("bv")] == [4, 0.5]
    assert cell.best == pytest.approx(((1.5 + 1.5 + 0.1) / 3, (60 + 60 + 52) / 3))
