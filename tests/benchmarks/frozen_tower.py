"""What is the volume worth? Every method on frozen features of a real network, many seeds in minutes.

python tests/benchmarks/frozen_tower.py --cache CACHE --cell cifar100-100-linear --seeds 30 --results runs.jsonl

A cell is data set, imbalance factor, head and, where it is not uniform, the sampler: `cifar100-100-linear-sqrt`. With
the largest and the smallest class in the place of the factor (`cifar100-60to3-linear`) classes and all images are
random; with `broad` before them (`cifar100-broad60to3-linear`) a sixth of the classes join five each. A line of the
results holds one seed of a cell: ce's trade-off curve, and for every method its accuracy and what its radii and weights
are like. Seeds that the file holds are not trained again. `frozen_tower_table.py` reads it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from frozen_tower_curve import Point, curve, point
from frozen_tower_data import Data, load
from frozen_tower_draws import load_broad, load_random
from frozen_tower_heads import Cosine, Head, ImageText, LanguageGuided, Linear
from frozen_tower_methods import SETS
from frozen_tower_sentences import aligned, embedded
from frozen_tower_training import Recipe, Trained, Training

RECIPES = {
    "linear": Recipe(epochs=8, learning_rate=0.03),
    "cosine": Recipe(epochs=8, learning_rate=0.3),
    "image-text": Recipe(epochs=8, learning_rate=0.3),
    "language": Recipe(epochs=8, learning_rate=3e-4, optimizer="adamw", weight_decay=0.05),
    "language-trained": Recipe(epochs=8, learning_rate=3e-4, optimizer="adamw", weight_decay=0.05),
}
"""Chosen once on ce, on a fifth of the training images: `frozen_tower_settings.py`."""

SMALL_RECIPE = Recipe(epochs=20, learning_rate=0.03)
"""Of the cells whose classes are random, which have a fifth of the images."""


@dataclass(frozen=True)
class Cell:
    """One setting of the benchmark, by its name.

    Attributes:
        dataset: `"cifar10_lt"` or `"cifar100_lt"`.
        sizes: an imbalance factor, or `LARGESTtoSMALLEST` class, perhaps after `broad`.
        head: one of `RECIPES`.
        sampler: `"uniform"` or `"sqrt"`.
    """

    dataset: str
    sizes: str
    head: str
    sampler: str

    @classmethod
    def parse(cls, name: str) -> Cell:
        """From `DATASET-SIZES-HEAD[-SAMPLER]`."""
        dataset, sizes, head = name.removesuffix("-sqrt").split("-", maxsplit=2)
        return cls(f"{dataset}_lt", sizes, head, "sqrt" if name.endswith("-sqrt") else "uniform")

    @property
    def recipe(self) -> Recipe:
        """How its head is trained."""
        return RECIPES[self.head] if self.sizes.isdigit() else SMALL_RECIPE


def data_of(cell: Cell, cache: Path, seed: int, validation: bool = False) -> Data:
    """A seed's data, mixed and smoothed for the language-guided heads as in VL-LTR's second stage."""
    if not cell.sizes.isdigit():
        largest, smallest = map(int, cell.sizes.removeprefix("broad").split("to"))
        if cell.sizes.startswith("broad"):
            return load_broad(cache, largest, smallest, seed)
        return load_random(cache, cell.dataset, largest, smallest, seed)
    mixed: dict[str, Any] = {"mixup": True, "smoothing": 0.1} if cell.head.startswith("language") else {}
    return load(cache, cell.dataset, int(cell.sizes), cell.sampler, seed, validation=validation, **mixed)


def head_of(cell: Cell, data: Data, cache: Path) -> Head:
    """The head that a cell trains."""
    if cell.head in ("linear", "cosine"):
        return Linear() if cell.head == "linear" else Cosine()
    sentences = embedded(cell.dataset, cache)
    if cell.head == "image-text":
        return ImageText(sentences)
    return LanguageGuided(sentences, *aligned(data, sentences), trains_projection=cell.head == "language-trained")


def described(trained: Trained, data: Data) -> dict[str, float]:
    """What a method's log radii and log weights are like at the end: spread, and how the radii go with n."""
    log_counts, log_radius, log_weights = (
        value.double() for value in (data.class_counts.double().log(), trained.log_radius, trained.weights.log())
    )
    numbers = {"std_log_alpha": log_weights.std(), "std_log_r": log_radius.std()}
    if float(log_radius.std()) > 0:
        many, _, few = data.groups
        numbers["corr_r_n"] = torch.corrcoef(torch.stack([log_radius, log_counts]))[0, 1]
        numbers["few_minus_many_log_r"] = log_radius[few].mean() - log_radius[many].mean()
    return {name: round(float(number), 4) for name, number in numbers.items()}


def run(cell: Cell, seed: int, names: list[str], cache: Path) -> dict[str, Any]:
    """The line of one seed."""
    started = time.perf_counter()
    data = data_of(cell, cache, seed)
    found = Training(data, head_of(cell, data, cache), cell.recipe, names).run()
    about = data.test_labels, data.groups
    methods = {
        name: {**point(trained.logits, *about)._asdict(), **described(trained, data)} for name, trained in found.items()
    }
    baseline: list[Point] = curve(found["ce"].logits, *about, data.class_counts)
    return {
        "curve": [list(each) for each in baseline],
        "methods": methods,
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    """Train the seeds that the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder that frozen_tower_features.py wrote")
    parser.add_argument("--cell", nargs="+", required=True)
    parser.add_argument("--methods", choices=SETS, default="all", help="which list of frozen_tower_methods.py")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--results", type=Path, required=True)
    options = parser.parse_args()
    done = set()
    if options.results.exists():
        lines = [json.loads(line) for line in options.results.read_text().splitlines()]
        done = {(line["cell"], line["seed"]) for line in lines}
    for name in options.cell:
        for seed in range(options.seeds):
            if (name, seed) in done:
                continue
            line = {"cell": name, "seed": seed, **run(Cell.parse(name), seed, SETS[options.methods], options.cache)}
            with options.results.open("a") as out:
                out.write(json.dumps(line) + "\n")
            print(name, seed, f"{line['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
