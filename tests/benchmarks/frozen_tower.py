"""What is the volume worth? Every method on frozen features of a real network, many seeds in minutes.

python tests/benchmarks/frozen_tower.py --cache CACHE --cell cifar100-100-linear --seeds 30 --results runs.jsonl

A cell is data set, imbalance factor, head and, where it is not uniform, the sampler: `cifar100-100-linear-sqrt`. With
the largest and the smallest class in the place of the factor (`cifar100-60to3-linear`) classes and all images are
random; with `broad` before them (`cifar100-broad60to3-linear`) a sixth of the classes join five others each, with
`super` five of one superclass. A line of the results holds one seed of a cell: ce's trade-off curve, and for every
method its accuracy, its height over that curve, and what its radii and weights are like. What the file holds is not
trained again: of a seed with other methods only those that it lacks are trained, and get a line of their own; readers
join the lines of a seed. `frozen_tower_table.py` reads it.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import Line, add_line, lines_of, study_parser, timed, write_lines
from frozen_tower_curve import ExactCurve, Point, curve, point
from frozen_tower_data import Data, load, load_broad, load_random
from frozen_tower_heads import Cosine, Head, ImageText, LanguageGuided, Linear, aligned, embedded
from frozen_tower_methods import SETS
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
    """One setting of the benchmark."""

    dataset: str  # "cifar10_lt" or "cifar100_lt"
    sizes: str  # an imbalance factor, or LARGESTtoSMALLEST class, perhaps after "broad" or "super"
    head: str  # one of RECIPES
    sampler: str  # "uniform" or "sqrt"

    @classmethod
    def parse(cls, name: str) -> Cell:
        """From `DATASET-SIZES-HEAD[-SAMPLER]`."""
        dataset, sizes, head = name.removesuffix("-sqrt").split("-", maxsplit=2)
        return cls(f"{dataset}_lt", sizes, head, "sqrt" if name.endswith("-sqrt") else "uniform")

    @property
    def random(self) -> bool:
        return not self.sizes.isdigit()

    @property
    def recipe(self) -> Recipe:
        return SMALL_RECIPE if self.random else RECIPES[self.head]

    def data(self, cache: Path, seed: int, validation: bool = False) -> Data:
        """A seed's data, mixed and smoothed for the language-guided heads as in VL-LTR's second stage."""
        if self.random:
            kind, largest, smallest = re.fullmatch(r"(broad|super|)(\d+)to(\d+)", self.sizes).groups()
            if kind:
                return load_broad(cache, int(largest), int(smallest), seed, similar=kind == "super")
            return load_random(cache, self.dataset, int(largest), int(smallest), seed)
        mixed: dict[str, Any] = {"mixup": True, "smoothing": 0.1} if self.head.startswith("language") else {}
        return load(cache, self.dataset, int(self.sizes), self.sampler, seed, validation=validation, **mixed)

    def train(
        self, data: Data, cache: Path, names: list[str] | None = None, recipe: Recipe | None = None
    ) -> dict[str, Trained]:
        """Methods (ce alone by default) on a seed's data."""
        return Training(data, self._new_head(data, cache), recipe or self.recipe, names or ["ce"]).run()

    def _new_head(self, data: Data, cache: Path) -> Head:
        if self.head in ("linear", "cosine"):
            return Linear() if self.head == "linear" else Cosine()
        sentences = embedded(self.dataset, cache)
        if self.head == "image-text":
            return ImageText(sentences)
        return LanguageGuided(sentences, *aligned(data, sentences), trains_projection=self.head == "language-trained")


def described(trained: Trained, data: Data) -> dict[str, float]:
    """What a method's log radii and log weights are like at the end: spread, and how the radii go with n."""
    log_counts, log_radius = data.class_counts.double().log(), trained.log_radius.double()
    numbers = {"std_log_alpha": trained.weights.log().double().std(), "std_log_r": log_radius.std()}
    if float(log_radius.std()) > 0:
        many, _, few = data.groups
        numbers["corr_r_n"] = torch.corrcoef(torch.stack([log_radius, log_counts]))[0, 1]
        numbers["few_minus_many_log_r"] = log_radius[few].mean() - log_radius[many].mean()
    return {name: round(float(number), 4) for name, number in numbers.items()}


def run(cell: str, seed: int, names: list[str], cache: Path) -> Line:
    """What a line holds beside cell and seed."""
    setting = Cell.parse(cell)
    data = setting.data(cache, seed)
    found = setting.train(data, cache, names)
    about, methods = (data.test_labels, data.groups), {}
    for name, trained in found.items():
        methods[name] = point(trained.logits, *about)._asdict() | described(trained, data)
    line = {"curve": [list(each) for each in curve(found["ce"].logits, *about, data.class_counts)], "methods": methods}
    return with_heights(line, data, found["ce"])


def with_heights(line: Line, data: Data, ce: Trained) -> Line:
    """A line and where its methods lie against ce's exact curve, if every class has as many test images."""
    if len(data.test_labels.bincount().unique()) > 1:
        return line
    exact = ExactCurve(ce.logits, data.test_labels, data.groups, data.class_counts)
    heights = {
        name: [round(gap, 3) for gap in exact.height(Point(*(method[group] for group in Point._fields)))]
        for name, method in line["methods"].items()
    }
    return {**line, "best": [round(value, 3) for value in exact.best], "heights": heights}


def add_heights(results: list[Path], cache: Path) -> None:
    """Gives older lines their heights: trains ce again, and refuses if its accuracies are not those of the line."""
    files = {path: lines_of(path) for path in results}
    lacking = [line for lines in files.values() for line in lines if "heights" not in line]
    for name, seed in dict.fromkeys((line["cell"], line["seed"]) for line in lacking):
        cell = Cell.parse(name)
        if cell.sizes.startswith(("broad", "super")):  # as many test images in each class: no
            continue
        data = cell.data(cache, seed)
        ce = cell.train(data, cache)["ce"]
        again = list(point(ce.logits, data.test_labels, data.groups))
        for line in (line for line in lacking if (line["cell"], line["seed"]) == (name, seed)):
            if again != line["curve"][0]:
                raise SystemExit(f"{name}, seed {seed}: ce has {again} now, {line['curve'][0]} in its line.")
            line |= with_heights(line, data, ce)
        for path, lines in files.items():
            write_lines(lines, path)
        print(name, seed, flush=True)


def main() -> None:
    parser = study_parser(__doc__, seeds=30, required=False)
    parser.add_argument("--cell", nargs="*", default=[])
    parser.add_argument("--methods", choices=SETS, default="all", help="which list of frozen_tower_methods.py")
    parser.add_argument("--heights", type=Path, nargs="+", default=[], help="results whose lines have no heights yet")
    options = parser.parse_args()
    add_heights(options.heights, options.cache)
    for cell, seed in itertools.product(options.cell, range(options.seeds)):
        job = {"cell": cell, "seed": seed}
        held = {name for line in lines_of(options.results) if job.items() <= line.items() for name in line["methods"]}
        lacking = [name for name in SETS[options.methods] if name not in held]
        if lacking:
            names = ["ce", *(name for name in lacking if name != "ce")]
            add_line(timed(job, run, names=names, cache=options.cache), options.results)


if __name__ == "__main__":
    main()
