"""How well is the radius of a class known from few images: as measured, debiased, or the mean of the other classes'?

vlltr-plugin cifar-lt --npz cifar10_lt_100.npz --preset short --method dv --seeds 1 --share-warmup --results runs.jsonl
python tests/benchmarks/small_classes.py --npz cifar10_lt_100.npz --out small.jsonl runs.states/*warmup-ce*.pth

A state holds a ResNet-32 in the middle of its training. Its logits of the training images, augmented and in train mode
as the statistics see them, give each class of 200 images or more a log radius; from random subsets of n of these
images it is estimated again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Line, parser_of, table, write_lines
from numpy.typing import NDArray

from vlltr_plugin.cifar_lt.batches import Batches
from vlltr_plugin.cifar_lt.data import from_npz
from vlltr_plugin.cifar_lt.methods import METHODS
from vlltr_plugin.cifar_lt.training import Schedule, Training
from vlltr_plugin.core.moments import log_sigma_bias

KNOWN_FROM, TRIALS = 200, 500
SIZES = (2, 3, 5, 10, 20, 30, 50)


def parsed(doc: str | None) -> Any:
    parser = parser_of(doc, required=True)
    parser.add_argument("states", type=Path, nargs="+")
    parser.add_argument("--npz", type=Path, required=True)
    return parser.parse_args()


def loaded(options: Any) -> Iterator[tuple[int, Training]]:
    batches = Batches(from_npz(options.npz), torch.device("cpu"))
    for number, state in enumerate(options.states):
        training = Training(batches, METHODS["ce"], Schedule(epochs=30), [0])
        training.load(torch.load(state, map_location="cpu", weights_only=True), weightings=False)
        yield number, training


def log_radius(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean log standard deviation over the features of rows `[..., n, C]`; nan where all are of one image."""
    sigma = rows.std(axis=-2, ddof=1)
    return np.log(np.where(sigma > 1e-9, sigma, np.nan)).mean(axis=-1)


def subsets(images: int, size: int, rng: np.random.Generator, trials: int = TRIALS) -> NDArray[np.int64]:
    return np.stack([rng.choice(images, size, replace=False) for _ in range(trials)])


def estimates(logits: NDArray[np.float64], labels: NDArray[np.int64], rng: np.random.Generator) -> Iterator[Line]:
    """A line for each class and subset size."""
    known = {int(label): logits[labels == label] for label in np.flatnonzero(np.bincount(labels) >= KNOWN_FROM)}
    radii = {label: float(log_radius(rows)) for label, rows in known.items()}
    for size in SIZES:
        bias = float(log_sigma_bias(torch.tensor([float(size)], dtype=torch.float64)))
        for label, rows in known.items():
            errors = log_radius(rows[subsets(len(rows), size, rng)]) - radii[label]
            others = np.mean([radii[other] for other in radii if other != label])
            line = {"n": size, "class": label, "log_radius": radii[label]}
            line["mean_of_others_error"] = others - radii[label]
            for name, shift in (("", 0.0), ("debiased_", bias)):
                line[f"{name}bias"] = float(errors.mean()) + shift
                line[f"{name}rms"] = float(np.sqrt(((errors + shift) ** 2).mean()))
            yield {key: round(float(value), 5) for key, value in line.items()}


def tabled(lines: list[Line]) -> str:
    rows = []
    for size in dict.fromkeys(line["n"] for line in lines):
        own = [line for line in lines if line["n"] == size]
        bias, debiased = (np.mean([line[key] for line in own]) for key in ("bias", "debiased_bias"))
        names = ("rms", "debiased_rms", "mean_of_others_error")
        rms, debiased_rms, others = (np.sqrt(np.mean([line[key] ** 2 for line in own])) for key in names)
        rows.append([size, f"{bias:+.3f}, {rms:.3f}", f"{debiased:+.3f}, {debiased_rms:.3f}", f"{others:.3f}"])
    return table("| n | as measured: bias, rms | `debias=True`: bias, rms | mean of the other classes: rms |", rows)


@torch.no_grad()
def main() -> None:
    options, rng, lines = parsed(__doc__), np.random.default_rng(0), []
    for number, training in loaded(options):
        training.model.train()
        logits, labels = [], []
        for batch in training.batches.epoch([0], training.epoch):  # one pass over the training images
            logits.append(training.model(batch.images)[0][0].double().numpy())
            labels.append(batch.targets[0].numpy())
        lines += [{"state": number, **line} for line in estimates(np.concatenate(logits), np.concatenate(labels), rng)]
    write_lines(lines, options.out)
    print(tabled(lines))


if __name__ == "__main__":
    main()
