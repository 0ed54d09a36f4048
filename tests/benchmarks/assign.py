"""Which way of reading mixed batches ranks the classes most like a clean pass?

Trains a small network on real long-tailed CIFAR images as VL-LTR's stage two trains (mixup 0.8 or cutmix 1.0 for
each batch, label smoothing 0.1, images drawn with weights 1/sqrt(n)) and compares, epoch by epoch, the log radii
streamed from the mixed training batches with those of a clean pass at the epoch's end: Spearman's rank
correlation over the classes. `trained` trains everything (as for iNaturalist); `frozen` then freezes the tower in
eval mode and trains a cosine head on it (as for ImageNet-LT and Places-LT).

    VLLTR_DATA=... python tests/benchmarks/assign.py --dataset cifar100_lt --epochs 12 --seeds 3 --out assign.jsonl
    python tests/benchmarks/assign.py --seeds 0 --out tests/benchmarks/results/assign.jsonl    # the table alone
"""

import time

import numpy as np
import torch
import torch.nn.functional as F
from common import add_line, lines_of, load_images, parser_of, table
from scipy.stats import spearmanr
from torch import nn

from vlltr_plugin import ClassVolume, ReweightedLoss, Uniform

SMOOTHING, BATCH = 0.1, 128
TITLES = {"cifar10_lt": "CIFAR-10-LT", "cifar100_lt": "CIFAR-100-LT"}
READINGS = {
    "mass": {"assign": "mass"},
    "dominant": {"assign": "dominant"},
    "mass, bv": {"assign": "mass", "variant": "bv"},
    "dominant, bv": {"assign": "dominant", "variant": "bv"},
}


def tower():
    layers = []
    for a, b in ((3, 32), (32, 64), (64, 128), (128, 128)):
        layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten())


class CosineHead(nn.Module):
    """Cosine of the projected feature with one embedding for each class, times exp(logit_scale) of CLIP."""

    def __init__(self, embeddings):
        super().__init__()
        self.embeddings = F.normalize(embeddings, dim=1)
        self.project = nn.Linear(embeddings.shape[1], embeddings.shape[1], bias=False)
        nn.init.eye_(self.project.weight)

    def forward(self, x):
        return F.normalize(self.project(x), dim=1) @ self.embeddings.T / 0.07


def mix(x, y, classes, rng):
    """One batch as in stage two: shift and flips, mixup or cutmix with the flipped batch, then smoothing."""
    x = torch.roll(x, torch.randint(-4, 5, (2,)).tolist(), dims=(2, 3))
    x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    if rng.random() < 0.5:
        lam = rng.beta(1.0, 1.0)
        size = int(32 * np.sqrt(1 - lam))
        cy, cx = rng.integers(32, size=2)
        top, bottom, left, right = np.clip([c + s for c in (cy, cx) for s in (-(size // 2), size // 2)], 0, 32)
        x = x.clone()
        x[:, :, top:bottom, left:right] = x.flip(0)[:, :, top:bottom, left:right]
        lam = 1 - (bottom - top) * (right - left) / 32**2
    else:
        lam = rng.beta(0.8, 0.8)
        x = lam * x + (1 - lam) * x.flip(0)
    hard = F.one_hot(y, classes).float()
    return x, (1 - SMOOTHING) * (lam * hard + (1 - lam) * hard.flip(0)) + SMOOTHING / classes


@torch.no_grad()
def clean_radii(model, x, y, counts, variant):
    weighting = ClassVolume(counts, variant=variant)
    model.eval()
    for rows, labels in zip(x.split(512), y.split(512), strict=True):
        weighting.observe(model(rows), labels)
    model.train()
    weighting.end_epoch()
    return weighting


def epochs(phase, model, optimizer, data, number, seed, args):
    x, y, counts = data
    rng, roots = np.random.default_rng(seed), counts.double().sqrt()
    draws = roots / roots.sum() * len(y)
    criterion = ReweightedLoss(Uniform(counts), smoothing=SMOOTHING)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, number)
    for epoch in range(number):
        readings = {name: ClassVolume(counts, draws, **options) for name, options in READINGS.items()}
        start, total = time.perf_counter(), 0.0
        drawn = torch.multinomial(counts.double().rsqrt()[y], len(y), replacement=True)
        for index in drawn.split(BATCH)[:-1]:
            images, targets = mix(x[index], y[index], len(counts), rng)
            logits = model(images)
            loss = criterion(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            for weighting in readings.values():
                weighting.observe(logits, targets, smoothing=SMOOTHING)
        schedule.step()
        record = {"dataset": args.dataset, "imbalance": args.imbalance, "seed": seed, "phase": phase, "epoch": epoch}
        record |= {"loss": total / (len(y) // BATCH), "seconds": time.perf_counter() - start}
        for name, weighting in readings.items():
            weighting.end_epoch()
            clean = clean_radii(model, x, y, counts, weighting.variant)
            own = ~(weighting.substituted | clean.substituted)
            for group, members in (("all", own), ("n >= 20", own & (counts >= 20))):
                rho = spearmanr(weighting.log_radius[members], clean.log_radius[members]).statistic
                record[f"{name} / {group}"] = float(rho)
            record[f"{name} / spread"] = float(weighting.log_radius[own].std())
            record[f"{name} / clean spread"] = float(clean.log_radius[own].std())
        yield record


def run(args, seed):
    torch.manual_seed(seed)
    pixels, labels = load_images(args.dataset, "train", args.imbalance)
    x, y = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255), torch.from_numpy(labels)
    x, counts = (x - 0.47) / 0.25, torch.bincount(y)
    body = tower()
    model = nn.Sequential(body, nn.Linear(128, len(counts)))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    yield from epochs("trained", model, optimizer, (x, y, counts), args.epochs, seed, args)
    body.eval().requires_grad_(False)
    with torch.no_grad():
        features = torch.cat([body(rows) for rows in x.split(512)])
    means = torch.stack([features[y == label].mean(0) for label in range(len(counts))])
    # Prototypes made noisy: sentence embeddings do not know the images' means.
    head = CosineHead(means + 0.5 * means.std() * torch.randn_like(means))
    frozen = nn.Sequential(body, head)
    frozen.train = lambda mode=True: frozen
    optimizer = torch.optim.AdamW(head.parameters(), 1e-4)
    yield from epochs("frozen", frozen, optimizer, (x, y, counts), max(1, args.epochs // 4), seed, args)


def tabled(records):
    """Medians over epochs and seeds, the first epoch of each phase left out (there, weights are still 1)."""
    rows = []
    for key in sorted({(r["dataset"], r["imbalance"], r["phase"]) for r in records}):
        own = [r for r in records if (r["dataset"], r["imbalance"], r["phase"]) == key and r["epoch"] > 0]
        for variant, tail in (("dv", ""), ("bv", ", bv")):
            mass, dominant = (np.array([r[f"{name}{tail} / all"] for r in own]) for name in ("mass", "dominant"))
            columns = (f"mass{tail} / clean spread", f"mass{tail} / spread", f"dominant{tail} / spread")
            spread = ", ".join(f"{np.median([r[column] for r in own]):.3f}" for column in columns)
            better = f"{(dominant > mass).sum()} of {len(own)}"
            medians = [f"{np.median(values):.3f}" for values in (mass, dominant)]
            rows.append([f"{TITLES[key[0]]}, IF {key[1]}", key[2], variant, len(own), *medians, better, spread])
    header = "| data | phase | variant | epochs | `mass` | `dominant` | `dominant` ranks better in |"
    return table(f"{header} spread: clean, mass, dominant |", rows)


def main():
    parser = parser_of(__doc__, required=True, help="JSON lines are appended here")
    parser.add_argument("--dataset", default="cifar100_lt")
    parser.add_argument("--imbalance", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(args.seeds):
        for record in run(args, seed):
            add_line(record, args.out)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in record.items()}, flush=True)
    print(tabled(lines_of(args.out)))


if __name__ == "__main__":
    main()
