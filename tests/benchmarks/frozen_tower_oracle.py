"""Could anything be gained at all? Biases fitted on test images, and what test radii tell of a class.

python tests/benchmarks/frozen_tower_oracle.py --cache CACHE --cell cifar100-100-linear cifar10-100-linear --seeds 10 \
  --results tests/benchmarks/results/frozen_tower_oracle.jsonl

A line is one seed of ce. On half of the test images of each class a bias for every class is fitted (least cross
entropy) and the best tau of tau log n is chosen; both are scored on the other half, and the halves change places.
"""

import torch
from common import Line, complete, study_parser
from frozen_tower import Cell
from frozen_tower_curve import TAUS, point
from torch import Tensor

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


def partial(values: Tensor, x: Tensor, others: Tensor) -> float:
    """Correlation of others `[C]` with what is left of values after their least-squares line in x."""
    x = x - x.mean()
    left = values - values.mean() - (x @ values) / (x @ x) * x
    return round(float(torch.corrcoef(torch.stack([left, others]))[0, 1]), 4)


def log_radii(logits: Tensor, labels: Tensor) -> Tensor:
    """Log r of each class, float64 `[C]`, in two passes."""
    of_class = [logits[labels == i].double() for i in range(logits.shape[1])]
    return torch.stack([rows.var(dim=0).log().mean() / 2 for rows in of_class])


def main() -> None:
    parser = study_parser(__doc__, seeds=10)
    parser.add_argument("--cell", nargs="+", required=True)
    options = parser.parse_args()

    def run(cell: str, seed: int) -> Line:
        setting = Cell.parse(cell)
        data = setting.data(options.cache, seed)
        found = setting.train(data, options.cache, ["ce", "dv post-hoc", "dv-test post-hoc"])
        logits, log_counts, labels = found["ce"].logits, data.class_counts.double().log(), data.test_labels

        def accuracy(shift: Tensor, rows: Tensor) -> float:
            return point(logits[rows] + shift, labels[rows], data.groups).all

        scores, biases = {"biases": 0.0, "tau": 0.0}, torch.zeros_like(log_counts)
        first = halves(labels, seed)
        for given in (first, ~first):
            fitted = fitted_biases(logits[given], labels[given])
            tau = max(TAUS, key=lambda tau: accuracy(-tau * log_counts, given))
            biases += fitted / 2
            scores["biases"] += accuracy(fitted, ~given) / 2
            scores["tau"] += accuracy(-tau * log_counts, ~given) / 2
        radii = {name: found[f"{name} post-hoc"].log_radius.double() for name in ("dv", "dv-test")}
        right = (logits - log_counts).argmax(dim=1) == labels
        one, other = (log_radii(logits[half], labels[half]) for half in (first, ~first))
        of_class = torch.stack([100 * right[labels == i].double().mean() for i in range(len(log_counts))])
        return {
            "accuracy": {name: round(value, 3) for name, value in scores.items()},
            "corr_biases_r": {name: partial(biases, log_counts, r) for name, r in radii.items()},
            "corr_accuracy_r": partial(of_class, log_counts, radii["dv-test"]),
            "corr_halves": round(float(torch.corrcoef(torch.stack([one, other]))[0, 1]), 4),
            "std_over_images": round(float((one - other).std()) / 2, 4),  # of radii of all test images
            "log_radius": [round(float(value), 4) for value in radii["dv-test"]],
            "class_accuracy": [round(float(value), 2) for value in of_class],
        }

    jobs = [{"cell": cell, "seed": seed} for cell in options.cell for seed in range(options.seeds)]
    complete(options.results, jobs, run)


if __name__ == "__main__":
    main()
