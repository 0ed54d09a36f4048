"""Epochs, learning rate and weight decay of a head, chosen on ce: mean class accuracy on images that do not train.

python tests/benchmarks/frozen_tower_settings.py --cache CACHE --cell cifar100-100-linear --epochs 8 12 \
  --rates 0.03 0.1 --results tests/benchmarks/results/frozen_tower_settings.jsonl

These are a fifth of the training images; in cells with random classes the test images of draws that no result uses.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import replace
from pathlib import Path

from frozen_tower import Cell, data_of, head_of
from frozen_tower_curve import point
from frozen_tower_training import Training

FIRST_SEED = 1000
"""Of the draws of cells with random classes."""


def main() -> None:
    """Add a line for each setting and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--cell", default="cifar100-100-linear")
    parser.add_argument("--epochs", type=int, nargs="+", required=True)
    parser.add_argument("--rates", type=float, nargs="+", required=True)
    parser.add_argument("--decays", type=float, nargs="+", default=[0.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, required=True)
    options = parser.parse_args()
    cell = Cell.parse(options.cell)
    first = 0 if cell.sizes.isdigit() else FIRST_SEED
    for epochs, rate, decay in itertools.product(options.epochs, options.rates, options.decays):
        recipe = replace(cell.recipe, epochs=epochs, learning_rate=rate, weight_decay=decay)
        setting = {"cell": options.cell, "epochs": epochs, "rate": rate, "decay": decay}
        for seed in range(first, first + options.seeds):
            started = time.perf_counter()
            data = data_of(cell, options.cache, seed, validation=True)
            trained = Training(data, head_of(cell, data, options.cache), recipe, ["ce"]).run()
            found = point(trained["ce"].logits, data.test_labels, data.groups).all
            line = {**setting, "seed": seed, "ce": found, "seconds": round(time.perf_counter() - started, 1)}
            with options.results.open("a") as out:
                out.write(json.dumps(line) + "\n")
            print(line, flush=True)


if __name__ == "__main__":
    main()
