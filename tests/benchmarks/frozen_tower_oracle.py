"""Could anything be gained at all? Biases fitted on test images, and what test radii tell of a class.

python tests/benchmarks/frozen_tower_oracle.py --cache CACHE --cell cifar100-100-linear cifar10-100-linear --seeds 10 \
  --results tests/benchmarks/results/frozen_tower_oracle.jsonl

A line is one seed of ce. Half of the test images of each class are given away: on them a bias for every class is fitted
(least cross entropy), and the best tau of tau log n is chosen; both are scored on the other half, and the halves change
places. Beside it the log radii of the classes on the test images, and their accuracies at tau 1.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from frozen_tower import Cell, data_of, head_of
from frozen_tower_curve import point
from frozen_tower_data import Data
from frozen_tower_training import Training
from torch import Tensor

TAUS = [round(0.1 * step, 1) for step in range(41)]
STEPS = 100


def fitted_biases(logits: Tensor, labels: Tensor) -> Tensor:
    """The biases `[C]`, mean 0, that make the cross entropy of logits `[M, C]` least."""
    biases = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([biases], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits.double() + biases, labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return (biases - biases.mean()).detach()


def halves(labels: Tensor, seed: int) -> Tensor:
    """Which test images are in the first half: of each class every other one of a random order, bool `[M]`."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    first = torch.zeros(len(labels), dtype=torch.bool)
    for i in labels.unique():
        first[order[labels[order] == i][::2]] = True
    return first


def left_of(values: Tensor, x: Tensor) -> Tensor:
    """Values `[C]` minus their least-squares line in x."""
    x = x - x.mean()
    return values - values.mean() - (x @ values) / (x @ x) * x


def correlation(a: Tensor, b: Tensor) -> float:
    """Of two vectors `[C]`."""
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def run(cell: Cell, seed: int, cache: Path) -> dict[str, Any]:
    """The line of one seed."""
    data = data_of(cell, cache, seed)
    names = ["ce", "dv post-hoc", "dv-test post-hoc"]
    found = Training(data, head_of(cell, data, cache), cell.recipe, names).run()
    logits, log_counts = found["ce"].logits, data.class_counts.double().log()
    scores = {"biases": 0.0, "tau": 0.0}
    biases = torch.zeros_like(log_counts)
    first = halves(data.test_labels, seed)
    for given in (first, ~first):
        fitted = fitted_biases(logits[given], data.test_labels[given])
        tau = max(TAUS, key=lambda tau: _accuracy(logits - tau * log_counts, data, given))
        biases += fitted / 2
        scores["biases"] += _accuracy(logits + fitted, data, ~given) / 2
        scores["tau"] += _accuracy(logits - tau * log_counts, data, ~given) / 2
    radii = {name: found[f"{name} post-hoc"].log_radius.double() for name in ("dv", "dv-test")}
    right = (logits - log_counts).argmax(dim=1) == data.test_labels
    accuracy = torch.stack([100 * right[data.test_labels == i].double().mean() for i in range(len(log_counts))])
    left = left_of(biases, log_counts)
    return {
        "accuracy": {name: round(value, 3) for name, value in scores.items()},
        "corr_biases_r": {name: round(correlation(left, radius), 4) for name, radius in radii.items()},
        "corr_accuracy_r": round(correlation(left_of(accuracy, log_counts), radii["dv-test"]), 4),
        "log_radius": [round(float(value), 4) for value in radii["dv-test"]],
        "class_accuracy": [round(float(value), 2) for value in accuracy],
    }


def _accuracy(logits: Tensor, data: Data, rows: Tensor) -> float:
    return point(logits[rows], data.test_labels[rows], data.groups).all


def main() -> None:
    """Train the seeds that the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--cell", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--results", type=Path, required=True)
    options = parser.parse_args()
    lines = options.results.read_text().splitlines() if options.results.exists() else []
    done = {(json.loads(line)["cell"], json.loads(line)["seed"]) for line in lines}
    for name in options.cell:
        for seed in range(options.seeds):
            if (name, seed) in done:
                continue
            started = time.perf_counter()
            line = {"cell": name, "seed": seed, **run(Cell.parse(name), seed, options.cache)}
            line["seconds"] = round(time.perf_counter() - started, 1)
            with options.results.open("a") as out:
                out.write(json.dumps(line) + "\n")
            print(name, seed, line["accuracy"], f"{line['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
