"""Epochs and learning rate of a head, chosen on ce: mean class accuracy on a fifth of the training images.

python tests/benchmarks/frozen_tower_settings.py --cache CACHE --head linear --epochs 8 12 20 --rates 0.01 0.03 0.1
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from frozen_tower import RECIPES, Cell, data_of, head_of
from frozen_tower_curve import point
from frozen_tower_training import Recipe, Training


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--cell", default="cifar100-100-linear")
    parser.add_argument("--epochs", type=int, nargs="+", required=True)
    parser.add_argument("--rates", type=float, nargs="+", required=True)
    parser.add_argument("--decays", type=float, nargs="+", default=[0.0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    cell = Cell.parse(options.cell)
    print("| epochs | rate | decay | ce, validation | seconds a run |\n| --- | --- | --- | --- | --- |")
    for epochs in options.epochs:
        for rate in options.rates:
            for decay in options.decays:
                recipe = Recipe(epochs, rate, RECIPES[cell.head].optimizer, decay)
                found, started = [], time.perf_counter()
                for seed in range(options.seeds):
                    data = data_of(cell, options.cache, seed, validation=True)
                    trained = Training(data, head_of(cell, data, options.cache), recipe, ["ce"]).run()
                    found.append(point(trained["ce"].logits, data.test_labels, data.groups).all)
                seconds = (time.perf_counter() - started) / options.seeds
                print(f"| {epochs} | {rate:g} | {decay:g} | {np.mean(found):.2f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
