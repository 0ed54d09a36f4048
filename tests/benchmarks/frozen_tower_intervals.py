"""How wide are 95 % intervals of a difference if they cover other seeds, other test images, or other classes?

python tests/benchmarks/frozen_tower_intervals.py --cache CACHE --cell cifar100-100-linear --seeds 30 \
  --results tests/benchmarks/results/frozen_tower_intervals.jsonl

A line is one cell: for each difference of mean class accuracy its mean over the seeds and three half widths. Seeds: of
the seeds' differences (Student's t). Test images: of the mean over the seeds, for other test images of the same
classes. Classes: for other classes, which have other images, too.
"""

import numpy as np
from common import Line, complete, study_parser
from frozen_tower import Cell
from scipy import stats

PAIRS = (("inverse", "ce"), ("inverse adjusted", "ce"), ("dv", "inverse"), ("dv adjusted", "inverse adjusted"))


def half_width(values: np.ndarray) -> float:
    """Of the 95 % interval of a mean (Student's t)."""
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def main() -> None:
    parser = study_parser(__doc__, seeds=30)
    parser.add_argument("--cell", nargs="+", required=True)
    options = parser.parse_args()

    def run(cell: str, seeds: int) -> Line:
        setting, names = Cell.parse(cell), list(dict.fromkeys(name for pair in PAIRS for name in reversed(pair)))
        right: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for seed in range(seeds):
            data = setting.data(options.cache, seed)
            labels = data.test_labels
            for name, trained in setting.train(data, options.cache, names).items():
                right[name].append(100.0 * (trained.logits.argmax(dim=1) == labels).double().numpy())
        classes = [np.flatnonzero(labels.numpy() == i) for i in range(len(data.class_counts))]
        found = {}
        for method, against in PAIRS:
            difference = np.stack(right[method]) - np.stack(right[against])  # [seeds, test images]
            of_class = np.stack([difference[:, images].mean(axis=1) for images in classes], axis=1)
            image = difference.mean(axis=0)
            variance = np.mean([image[images].var(ddof=1) / len(images) for images in classes]) / len(classes)
            widths = half_width(of_class.mean(axis=1)), 1.96 * variance**0.5, half_width(of_class.mean(axis=0))
            numbers = dict(zip(("mean", "seeds", "images", "classes"), (of_class.mean(), *widths), strict=True))
            found[f"{method} - {against}"] = {name: round(float(value), 4) for name, value in numbers.items()}
        return {"differences": found}

    complete(options.results, [{"cell": cell, "seeds": options.seeds} for cell in options.cell], run)


if __name__ == "__main__":
    main()
