"""Would a sample of the logits do? Error of log r from some of 1000 columns, next to that from few images.

python tests/benchmarks/frozen_tower_columns.py --cache CACHE --out tests/benchmarks/results/frozen_tower_columns.jsonl

The logits are real: the network's own ImageNet head on the training images of CIFAR-100-LT. An error that all classes
share changes no weight, so errors are taken after subtracting their mean over the classes.
"""

from pathlib import Path

import numpy as np
import torch
from common import Line, parser_of, table, write_lines
from frozen_tower_features import tower

COLUMNS = (512, 256, 128, 64)
IMAGES = (5, 10, 20, 50, 100)
KNOWN_FROM = 200
DRAWS = 200


def tabled(lines: list[Line]) -> str:
    """The table of the errors; the first line holds what is to be known."""
    rows = []
    for line in lines[1:]:
        source = f"{line['columns']} of 1000 columns" if "columns" in line else f"{line['images']} images"
        rows.append([source, f"{line['rms']:.4f}", f"{line['bias']:+.3f}" if "bias" in line else "0"])
    return table("| log r from | error (rms) | mean error |", rows)


@torch.inference_mode()
def main() -> None:
    parser = parser_of(__doc__, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    features = torch.from_numpy(np.load(options.cache / "cifar100_lt_train.npy"))
    labels = np.load(options.cache / "cifar100_lt_train.labels.npy")
    logits = tower().get_classifier()(features).double().numpy()  # type: ignore[operator]
    rng = np.random.default_rng(0)
    known = [logits[labels == i] for i, n in enumerate(np.bincount(labels)) if n >= KNOWN_FROM]
    log_sigma = np.stack([np.log(rows.std(axis=0, ddof=1)) for rows in known])
    whole = log_sigma.mean(axis=1)
    lines = [{"classes": len(known), "columns": logits.shape[1], "std_log_r": float(whole.std(ddof=1))}]

    def add(errors: list[np.ndarray], axis: int, **about: int) -> None:
        of_draws = np.stack(errors, axis=axis)  # [draws, classes]
        rms = np.sqrt(((of_draws - of_draws.mean(axis=1, keepdims=True)) ** 2).mean())
        lines.append({**about, "rms": float(rms)} | ({"bias": float(of_draws.mean())} if "images" in about else {}))

    for columns in COLUMNS:
        picks = [rng.choice(log_sigma.shape[1], columns, replace=False) for _ in range(DRAWS)]
        add([log_sigma[:, pick].mean(axis=1) - whole for pick in picks], axis=0, columns=columns)
    for images in IMAGES:
        errors = []
        for rows, log_radius in zip(known, whole, strict=True):
            picks = [rng.choice(len(rows), images, replace=False) for _ in range(DRAWS)]
            found = np.stack([np.log(rows[pick].std(axis=0, ddof=1)).mean() for pick in picks])
            errors.append(found - log_radius)
        add(errors, axis=1, images=images)
    lines = [{key: round(value, 5) for key, value in line.items()} for line in lines]
    write_lines(lines, options.out)
    print(f"std of log r over {len(known)} classes of {KNOWN_FROM} images or more: {lines[0]['std_log_r']:.3f}\n")
    print(tabled(lines))


if __name__ == "__main__":
    main()
