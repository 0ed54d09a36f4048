"""What the scripts share: the command line, the data folder, JSON lines, Markdown tables, memory and processes."""

import argparse
import importlib
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
Line = dict[str, Any]


def parser_of(doc: str | None, **out: Any) -> argparse.ArgumentParser:
    """With `--out` if its options are given."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if out:
        parser.add_argument("--out", type=Path, **out)
    return parser


def study_parser(doc: str | None, seeds: int, required: bool = True) -> argparse.ArgumentParser:
    """Of a script that trains heads on the cached features."""
    parser = parser_of(doc)
    parser.add_argument("--cache", type=Path, required=True, help="folder that frozen_tower_features.py wrote")
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument(
        "--results", type=Path, required=required, help="JSON lines; what they hold is not trained again"
    )
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


def lines_of(results: Path | str | None) -> list[Line]:
    """The lines of a file, or of one of `results/` by its name; none where there is no file."""
    path = RESULTS / f"{results}.jsonl" if isinstance(results, str) else results
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path and path.exists() else []


def write_lines(lines: Iterable[Line], out: Path | None, mode: str = "w") -> None:
    if out:
        with open(out, mode, encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def add_line(line: Line, out: Path | None) -> None:
    write_lines([line], out, "a")


def spread(values: list[float], low: str = "min", high: str = "max") -> dict[str, float]:
    return {"median": statistics.median(values), low: min(values), high: max(values)}


def write_record(record: Line, out: Path | None) -> None:
    """Prints a record, its numbers to four digits, and adds it to a file if one is named."""
    record = json.loads(json.dumps(record), parse_float=lambda number: float(f"{float(number):.4g}"))
    print(json.dumps(record), flush=True)
    add_line(record, out)


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


def in_process(function: Callable[..., Any], *args: Any) -> Any:
    """What a function of the script returns in a new process of one thread."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return pool.submit(function, *args).result()


def memory(field: str) -> int:
    """Bytes of this process, of Linux: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


class Peak:
    """Most bytes held from here on, above what is held now."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        if device == "cpu":
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from here
            self.before = memory("VmRSS")
        else:
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)

    def extra(self) -> int:
        if self.device == "cpu":
            return memory("VmHWM") - self.before
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device) - self.before


def table(header: str, rows: Iterable[Iterable[object]], *, numbers: bool = False) -> str:
    """A Markdown table; columns of numbers to the right where asked."""
    columns = header.count("|") - 1
    rule = "| --- |" + (" ---: |" if numbers else " --- |") * (columns - 1)
    return "\n".join([header, rule, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])
