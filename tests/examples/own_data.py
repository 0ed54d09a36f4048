"""Your own long-tailed data, from class counts to a table of accuracies, with runs that resume.

Runs as it stands, in 20 seconds: `pip install scikit-learn`, then `python own_data.py`. It writes `runs/`. A second
start resumes from what is there: delete `runs/` after a change.
"""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from vlltr_plugin import (
    ClassVolume,
    InverseFrequency,
    LogitAdjustedLoss,
    LogitAdjustment,
    ReweightedLoss,
    RunRecorder,
    Uniform,
)

# Your data. Here: digits, cut to 140, 90, ... 2 training images of a class. All other images are the test set.
images, labels = load_digits(return_X_y=True)
wanted = (140 * 50 ** (-np.arange(10) / 9)).astype(int)
train = np.concatenate([np.flatnonzero(labels == k)[:n] for k, n in enumerate(wanted)])
test = np.setdiff1d(np.arange(len(labels)), train)
x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
counts = y[train].bincount(minlength=10)
groups = {"many": counts > 50, "medium": (counts >= 10) & (counts <= 50), "few": counts < 10}
device = "cuda" if torch.cuda.is_available() else "cpu"
SEEDS, EPOCHS = 3, 30


def accuracy(model):
    """Top-1 in percent: over all test images, and over those of each group of classes."""
    with torch.no_grad():
        right = 100 * (model(x[test].to(device)).argmax(1).cpu() == y[test]).float()
    return {"overall": right.mean().item()} | {name: right[of[y[test]]].mean().item() for name, of in groups.items()}


def run(folder, criterion, seed, sampler=None):
    """Trains one model, or resumes its training; returns the model."""
    torch.manual_seed(seed)
    loader = DataLoader(TensorDataset(x[train], y[train]), 32, shuffle=sampler is None, sampler=sampler)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    recorder = RunRecorder(folder, criterion.to(device), groups="51,9")  # many: 51 images or more, few: up to 9
    saved, start = Path(folder, "model.pt"), 0
    if saved.exists():  # started again: resume after the last epoch that was saved
        checkpoint = torch.load(saved)
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        start = checkpoint["epoch"] + 1
    for epoch in range(recorder.resume(start), EPOCHS):
        for batch, target in loader:
            loss = criterion(model(batch.to(device)), target.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        recorder.end_epoch(epoch, **accuracy(model))  # ends the criterion's epoch: new weights
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save(state, saved)
    return model


def show(name, models):
    """One row: the mean over the seeds."""
    found = [accuracy(model) for model in models]
    print(f"{name:31}" + "".join(f"{np.mean([one[group] for one in found]):7.1f}" for group in found[0]))


print("test accuracy, 3 seeds             all   many medium    few")
plain = [run(f"runs/cross entropy/{seed}", ReweightedLoss(Uniform(counts)), seed) for seed in range(SEEDS)]
show("cross entropy", plain)
adjustment = LogitAdjustment(counts, tau=1.0).to(device)
show("logits - log n after training", [torch.nn.Sequential(model, adjustment) for model in plain])
sampler = WeightedRandomSampler(counts.float().rsqrt()[y[train]], len(train))  # draws classes in proportion to sqrt(n)
for name, make, drawn_by in [
    ("inverse frequency", lambda: ReweightedLoss(InverseFrequency(counts)), None),
    ("class volume", lambda: ReweightedLoss(ClassVolume(counts)), None),
    ("inverse frequency as margins", lambda: LogitAdjustedLoss(InverseFrequency(counts)), None),
    ("class volume as margins", lambda: LogitAdjustedLoss(ClassVolume(counts)), None),
    ("class volume, sqrt sampler", lambda: ReweightedLoss(ClassVolume(counts, draws=counts.sqrt())), sampler),
]:
    show(name, [run(f"runs/{name}/{seed}", make(), seed, drawn_by) for seed in range(SEEDS)])
