"""What the scripts share: the command line, the data folder, JSON lines and Markdown tables."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
Line = dict[str, Any]


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def study_parser(doc: str | None, seeds: int) -> argparse.ArgumentParser:
    """Of a script that trains heads on the cached features."""
    parser = parser_of(doc)
    parser.add_argument("--cache", type=Path, required=True, help="folder that frozen_tower_features.py wrote")
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--results", type=Path, required=True, help="JSON lines; what it holds is not trained again")
    return parser


def data_file(name: str) -> Path:
    """A file of the folder that `VLLTR_DATA` names."""
    path = Path(os.environ.get("VLLTR_DATA", "."), name)
    if not path.is_file():
        raise SystemExit(f"Expected VLLTR_DATA to name a folder with {name}: see tests/benchmarks/README.md.")
    return path


def class_counts(dataset: str) -> torch.Tensor:
    return torch.tensor(json.loads(data_file("class_counts.json").read_text())[dataset])


def load_images(dataset: str, split: str, imbalance: int) -> Any:
    """uint8 images `[N, 32, 32, 3]` and int64 labels of CIFAR-LT, by the reader beside the data."""
    sys.path.insert(0, str(data_file("cifar_lt.py").parent))
    return importlib.import_module("cifar_lt").load(dataset, split, imbalance)


def lines_of(results: Path | str) -> list[Line]:
    """The lines of a file, or of one of `results/` by its name; none where there is no file."""
    path = results if isinstance(results, Path) else RESULTS / f"{results}.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def add_line(line: Line, out: Path | str | None) -> None:
    if out:
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def rounded(value: Any) -> Any:
    """Numbers to four digits, also those in dicts."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def write_record(record: Line, out: Path | str | None = None) -> None:
    """Prints a record, its numbers to four digits, and adds it to a file if one is named."""
    print(json.dumps(rounded(record)), flush=True)
    add_line(rounded(record), out)


def complete(results: Path, jobs: Iterable[Line], run: Callable[..., Line]) -> None:
    """Runs the jobs (arguments of `run`) that no line of the results has, and adds a line for each."""
    done = lines_of(results)
    for job in jobs:
        if not any(job.items() <= line.items() for line in done):
            add_line(timed(job, run), results)


def timed(job: Line, run: Callable[..., Line], **others: Any) -> Line:
    """Runs a job; its arguments, what it found, and its seconds in one line."""
    started = time.perf_counter()
    line = {**job, **run(**job, **others), "seconds": round(time.perf_counter() - started, 1)}
    print(job, f"{line['seconds']} s", flush=True)
    return line


def table(header: str, rows: Iterable[Iterable[object]], *, numbers: bool = False) -> str:
    """A Markdown table; columns of numbers to the right where asked."""
    columns = header.count("|") - 1
    rule = "| --- |" + (" ---: |" if numbers else " --- |") * (columns - 1)
    return "\n".join([header, rule, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])
