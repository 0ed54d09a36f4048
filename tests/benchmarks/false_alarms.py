"""How often a criterion warns of an honest loop, and how soon of a wrong one.

    python tests/benchmarks/false_alarms.py --seeds 200 --epochs 60

Long-tailed sets of 2 to 8 classes, of 5 to 30 or 40 to 250 images. A number of the table is how many of the seeds gave
a warning of what the epochs drew (`DrawnEpochs`); of the wrong loops, how many were told at the end of the first epoch
(of a forgotten `end_epoch`: within 30 passes over 1000 to 2000 images). `--only` takes words of the first column.
"""

import warnings

import torch
from common import parser_of

from vlltr_plugin import ClassVolume, ReweightedLoss
from vlltr_plugin.core.draws import DrawnEpochs

SIZES = {"5 to 30 images": (5, 30), "40 to 250 images": (40, 250)}
FREE_SEEDS = 10_000


def class_counts(size):
    """Between about equal and 20 to 1, at least one image in each class."""
    classes, images = int(torch.randint(2, 9, ())), int(torch.randint(size[0], size[1] + 1, ()))
    share = torch.exp(-torch.linspace(0, 1 + 2 * float(torch.rand(())), classes))
    return (share / share.sum() * max(images, classes)).round().clamp(min=1).long()


def labels_of(counts):
    return torch.repeat_interleave(torch.arange(len(counts)), counts)


def shuffled(counts):
    return labels_of(counts)[torch.randperm(int(counts.sum()))]


def weighted(counts, power, times=1):
    """A sampler with weights n_i^power, and the draws to declare."""
    labels, weights = labels_of(counts), counts.double().pow(power)
    declared = counts.double().pow(1 + power)
    return lambda: labels[torch.multinomial(weights[labels], times * len(labels), replacement=True)], declared


def repeated(counts, copies, replacement=False):
    """Repeated augmentation: copies of an image in a row, as many samples as images."""
    labels = labels_of(counts)

    def epoch():
        order = torch.randint(len(labels), labels.shape) if replacement else torch.randperm(len(labels))
        return labels[order].repeat_interleave(copies)[: len(labels)]

    return epoch, None


def plain(counts, change):
    return lambda: change(shuffled(counts)), None


def episodic(counts, ways=2, shots=5):
    def epoch():
        chosen = [torch.randperm(len(counts))[:ways] for _ in range(max(1, int(counts.sum()) // (ways * shots)))]
        return torch.cat(chosen).repeat_interleave(shots)

    return epoch, [1] * len(counts)


HONEST = {
    "uniform": lambda n: plain(n, lambda y: y),
    "uniform with replacement": lambda n: weighted(n, 0.0),
    "square root": lambda n: weighted(n, -0.5),
    "square root, 4 N draws": lambda n: weighted(n, -0.5, times=4),
    "balanced": lambda n: weighted(n, -1.0),
    "repeated augmentation, 3 copies": lambda n: repeated(n, 3),
    "the same with replacement": lambda n: repeated(n, 3, replacement=True),
    "10 views": lambda n: plain(n, lambda y: y.repeat(10)),
    "SAM, square root": lambda n: (lambda labels, draws: (lambda: labels().repeat(2), draws))(*weighted(n, -0.5)),
    "drop_last, batches of 8": lambda n: plain(n, lambda y: y[: max(8, len(y) // 8 * 8)]),
    "padding of DistributedSampler, 4 ranks": lambda n: plain(n, lambda y: torch.cat([y, y[: -len(y) % 4]])),
    "four of five folds": lambda n: plain(n, lambda y: y[torch.arange(len(y)) % 5 != 4]),
    "episodes of 2 classes x 5": episodic,
    "8 copies in a row, with replacement": lambda n: repeated(n, 8, replacement=True),
}
WRONG = {
    "draws forgotten, balanced sampler": lambda n: (weighted(n, -1.0)[0], None),
    "counts in the other order": lambda n: (lambda: shuffled(n.flip(0)), None),
}


def warns(counts, draws, epoch, epochs, samples=None):
    """Whether anything is said of a loop; `epoch` gives the labels, of as many samples if they are not pixels."""
    judge = DrawnEpochs(ClassVolume(counts, draws=draws))
    for _ in range(epochs):
        labels = epoch()
        judge.add(torch.bincount(labels, minlength=len(counts)), samples or len(labels))
        if judge.other_classes() or judge.first_was_longer():
            return True
    return False


def run(make, size, epochs):
    counts = class_counts(size)
    labels, draws = make(counts)
    return warns(counts, draws, labels, epochs)


def dense(size, epochs):
    """Maps of 24 x 24 pixels with a few regions, crops of 8 to 16."""
    classes, crop = int(torch.randint(2, 7, ())), 4 * int(torch.randint(2, 5, ()))
    images = int(torch.randint(size[0], min(size[1], 60) + 1, ()))
    grid = torch.cartesian_prod(torch.arange(24.0), torch.arange(24.0))
    share = torch.exp(-torch.linspace(0, 2, classes))
    maps = []
    for _ in range(images):
        centres, labels = 24 * torch.rand(4, 2), torch.multinomial(share, 4, replacement=True)
        maps.append(labels[torch.cdist(grid, centres).argmin(dim=1)].view(24, 24))

    def crops():
        corners = torch.randint(25 - crop, (images, 2)).tolist()
        pieces = [one[a : a + crop, b : b + crop] for one, (a, b) in zip(maps, corners, strict=True)]
        return torch.stack(pieces).flatten()

    counts = torch.bincount(torch.stack(maps).flatten(), minlength=classes).clamp(min=1)
    return warns(counts, None, crops, epochs, images)


def forgotten():
    """Whether a loop without `end_epoch` is told within 30 passes."""
    counts = class_counts((1000, 2000))
    criterion = ReweightedLoss(ClassVolume(counts))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(30):
            labels = shuffled(counts)
            criterion(torch.randn(len(labels), len(counts), requires_grad=True), labels).backward()
    return any(str(warning.message).startswith("Expected") for warning in caught)


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)

    def number(warned, *arguments):
        found = 0
        for seed in range(args.seeds):
            torch.manual_seed(FREE_SEEDS + seed)
            found += warned(*arguments)
        return found

    rows = {name: lambda size, make=make: number(run, make, size, args.epochs) for name, make in HONEST.items()}
    rows["dense maps, random crops"] = lambda size: number(dense, size, args.epochs)
    rows |= {f"wrong: {name}": lambda size, make=make: number(run, make, size, 1) for name, make in WRONG.items()}
    rows["wrong: end_epoch forgotten"] = lambda size: number(forgotten) if size == (40, 250) else ""
    print(f"| loop | {' | '.join(SIZES)} |\n|" + " --- |" * 3)
    for name, counted in rows.items():
        if args.only in name:
            print(f"| {name} | {' | '.join(str(counted(size)) for size in SIZES.values())} |", flush=True)


if __name__ == "__main__":
    main()
