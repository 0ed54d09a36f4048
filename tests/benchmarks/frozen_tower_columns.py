"""Would a sample of the logits do? Error of log r from some of 1000 columns, next to that from few images.

python tests/benchmarks/frozen_tower_columns.py --cache CACHE --out tests/benchmarks/results/frozen_tower_columns.jsonl

The logits are real: the network's own ImageNet head on the training images of CIFAR-100-LT. An error that all classes
share changes no weight, so errors are taken after subtracting their mean over the classes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from common import Line, parser_of, table
from frozen_tower_features import tower
from numpy.typing import NDArray

Array = NDArray[np.float64]
COLUMNS = (512, 256, 128, 64)
IMAGES = (5, 10, 20, 50, 100)
KNOWN_FROM = 200
DRAWS = 200


def image_errors(rows: Array, images: int, rng: np.random.Generator) -> Array:
    """Errors of log r from some of a class's images, `[draws]`."""
    picks = np.stack([rng.choice(len(rows), images, replace=False) for _ in range(DRAWS)])
    found = np.stack([np.log(rows[pick].std(axis=0, ddof=1)).mean() for pick in picks])
    return found - np.log(rows.std(axis=0, ddof=1)).mean()


def spread(errors: Array) -> float:
    """Root mean square of errors `[draws, classes]` after subtracting what all classes of a draw share."""
    return float(np.sqrt(((errors - errors.mean(axis=1, keepdims=True)) ** 2).mean()))


def tabled(lines: list[Line]) -> str:
    """The table of the errors; the first line holds what is to be known."""
    rows = []
    for line in lines[1:]:
        source = f"{line['columns']} of 1000 columns" if "columns" in line else f"{line['images']} images"
        rows.append([source, f"{line['rms']:.4f}", f"{line['bias']:+.3f}" if "bias" in line else "0"])
    return table("| log r from | error (rms) | mean error |", rows)


def main() -> None:
    """Print a table and write its lines."""
    parser = parser_of(__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    features = torch.from_numpy(np.load(options.cache / "cifar100_lt_train.npy"))
    labels = np.load(options.cache / "cifar100_lt_train.labels.npy")
    with torch.inference_mode():
        logits = tower().get_classifier()(features).double().numpy()  # type: ignore[operator]
    rng = np.random.default_rng(0)
    known = [logits[labels == i] for i, n in enumerate(np.bincount(labels)) if n >= KNOWN_FROM]
    log_sigma = np.stack([np.log(rows.std(axis=0, ddof=1)) for rows in known])
    whole = log_sigma.mean(axis=1)
    lines = [{"classes": len(known), "columns": logits.shape[1], "std_log_r": float(whole.std(ddof=1))}]
    for columns in COLUMNS:
        picks = [rng.choice(log_sigma.shape[1], columns, replace=False) for _ in range(DRAWS)]
        errors = np.stack([log_sigma[:, pick].mean(axis=1) - whole for pick in picks])
        lines.append({"columns": columns, "rms": spread(errors)})
    for images in IMAGES:
        errors = np.stack([image_errors(rows, images, rng) for rows in known], axis=1)
        lines.append({"images": images, "rms": spread(errors), "bias": float(errors.mean())})
    lines = [{key: round(value, 5) for key, value in line.items()} for line in lines]
    options.out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(f"std of log r over {len(known)} classes of {KNOWN_FROM} images or more: {lines[0]['std_log_r']:.3f}\n")
    print(tabled(lines))


if __name__ == "__main__":
    main()
