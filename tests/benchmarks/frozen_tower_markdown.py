"""Results as lines and tables as Markdown, for the modules that make the tables of the documents."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
CELLS = {
    "cifar100-200-linear": "CIFAR-100-LT, IF 200, linear",
    "cifar100-100-linear": "IF 100, linear",
    "cifar100-50-linear": "IF 50, linear",
    "cifar100-100-linear-sqrt": "IF 100, linear, sqrt sampler",
    "cifar100-100-cosine": "IF 100, cosine",
    "cifar100-100-image-text": "IF 100, image-text",
    "cifar100-100-language-sqrt": "IF 100, VL-LTR's, sqrt sampler",
    "cifar100-100-language-trained-sqrt": "the same, its embedding trained on",
    "cifar10-100-linear": "CIFAR-10-LT, IF 100, linear",
}


def lines_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RESULTS / f"{name}.jsonl").read_text("utf-8").splitlines()]


def table(header: str, rows: Iterable[Iterable[object]], *, numbers: bool = False) -> str:
    """Markdown; columns of numbers to the right where asked."""
    columns = header.count("|") - 1
    rule = "| --- |" + (" ---: |" if numbers else " --- |") * (columns - 1)
    return "\n".join([header, rule, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])
