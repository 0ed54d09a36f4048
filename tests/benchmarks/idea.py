"""Draws the idea from real data: images of a class, the radius of its logits, and the weight that follows.

    python tests/benchmarks/idea.py idea.png

Handwritten digits (scikit-learn's), cut to a long tail; a small network, 20 epochs of class volume; five seconds. The
bars of the last panel are the weights of class volume, the line is what 1 / n alone would give.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import parser_of
from sklearn.datasets import load_digits

from vlltr_plugin import ClassVolume, ReweightedLoss

LARGEST, SMALLEST, CLASSES = 140, 4, 10


def trained() -> ClassVolume:
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    wanted = np.geomspace(LARGEST, SMALLEST, CLASSES).astype(int)
    chosen = np.concatenate([np.flatnonzero(labels == k)[:n] for k, n in enumerate(wanted)])
    x, y = torch.tensor(images[chosen] / 16, dtype=torch.float32), torch.tensor(labels[chosen])
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, CLASSES))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    weighting = ClassVolume(torch.bincount(y))
    criterion = ReweightedLoss(weighting)
    for _ in range(20):
        for batch in torch.randperm(len(y)).split(32):
            loss = criterion(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        criterion.end_epoch()
    return weighting


def draw(weighting: ClassVolume, out: str) -> None:
    classes = np.arange(CLASSES)
    equal = weighting.weights_for(torch.zeros(CLASSES, dtype=torch.float64))
    radius = weighting.log_radius.exp()
    panels = {
        "n: training images": weighting.class_counts,
        "r: radius of the class in logit space": radius / radius.mean(),
        "alpha ~ r / n: weight of its loss": weighting.weights,
    }
    figure, axes = plt.subplots(1, 3, figsize=(11, 2.8), layout="constrained")
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        axis.bar(classes, values.numpy(), color="#0072B2", width=0.7)
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("class")
        axis.set_xticks(classes)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].set_ylabel("mean over the classes = 1")
    axes[2].plot(classes, equal.numpy(), color="#D55E00", marker="o", markersize=3, label="1 / n alone")
    axes[2].legend(frameon=False)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    parser = parser_of(__doc__)
    parser.add_argument("out", help="the picture (PNG)")
    draw(trained(), parser.parse_args().out)
