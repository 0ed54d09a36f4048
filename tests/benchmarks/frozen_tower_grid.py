"""How far do the effects hang on rate, epochs and decay? And what is left when every family is tuned alike?

python tests/benchmarks/frozen_tower_grid.py --cache CACHE --seeds 5 --results grid.jsonl

A line is one seed under one setting, trained twice: without a fifth of the training images, which then are the
validation images, and on all of them, tested on the test images. It holds mean class accuracy of every method on both,
and of ce, the weights and the margins at tau 1 after subtracting tau log n from their logits, for every tau of `TAUS`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from frozen_tower import Cell, data_of, head_of
from frozen_tower_curve import point
from frozen_tower_data import Data
from frozen_tower_methods import SETS
from frozen_tower_training import Recipe, Trained, Training

CELL = "cifar100-100-linear"
SETTINGS = ((0.03, 8, 0.0), (0.1, 12, 0.0), (0.1, 30, 5e-3))
"""Rate, epochs, weight decay."""

TAUS = [round(0.25 * step, 2) for step in range(25)]
CURVES = ("ce", "inverse", "dv", "inverse adjusted tau 1", "dv adjusted tau 1")


def accuracies(found: Mapping[str, Trained], data: Data) -> dict[str, Any]:
    """Mean class accuracy of every method, and the curves."""
    about = data.test_labels, data.groups
    log_counts = data.class_counts.double().log().float()
    methods = {name: list(point(trained.logits, *about)) for name, trained in found.items()}
    curves = {
        name: [point(found[name].logits - tau * log_counts, *about).all for tau in TAUS]
        for name in CURVES
        if name in found
    }
    return {"methods": methods, "curves": curves}


def run(recipe: Recipe, seed: int, names: list[str], cache: Path) -> dict[str, Any]:
    """Both trainings of a seed."""
    cell, found = Cell.parse(CELL), {}
    for split in ("validation", "test"):
        data = data_of(cell, cache, seed, validation=split == "validation")
        trained = Training(data, head_of(cell, data, cache), recipe, names).run()
        found[split] = accuracies(trained, data)
    return found


def main() -> None:
    """Train what the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--results", type=Path, required=True)
    options = parser.parse_args()
    lines = options.results.read_text().splitlines() if options.results.exists() else []
    done = {tuple(json.loads(line)["setting"] + [json.loads(line)["seed"]]) for line in lines}
    for seed in range(options.seeds):
        for setting in SETTINGS:
            if (*setting, seed) in done:
                continue
            started = time.perf_counter()
            rate, epochs, decay = setting
            recipe = replace(Cell.parse(CELL).recipe, learning_rate=rate, epochs=epochs, weight_decay=decay)
            found = run(recipe, seed, SETS["grid"], options.cache)
            seconds = round(time.perf_counter() - started, 1)
            with options.results.open("a") as out:
                out.write(json.dumps({"setting": setting, "seed": seed, **found, "seconds": seconds}) + "\n")
            print(setting, seed, f"{seconds} s", flush=True)


if __name__ == "__main__":
    main()
