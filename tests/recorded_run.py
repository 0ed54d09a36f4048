"""A loop of one's own with RunRecorder: `recorded_run.py FOLDER EPOCHS [MOMENT NUMBER SHARE]`; it goes on by itself."""

import os
import sys
from pathlib import Path

import torch

from vlltr_plugin import ClassVolume, ReweightedLoss, RunRecorder
from vlltr_plugin.runs.files import whole_objects

COUNTS = [60, 30, 12]
EPOCHS = 4


def run(folder, epochs):
    torch.set_num_threads(1)
    model = torch.nn.Linear(4, 3)
    torch.nn.init.constant_(model.weight, 0.01)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    recorder, saved = RunRecorder(folder, criterion), Path(folder) / "model.pt"
    start = 0
    if saved.exists():
        checkpoint = torch.load(saved)
        model.load_state_dict(checkpoint["model"])
        start = checkpoint["epoch"] + 1
    start = recorder.resume(start)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    for epoch in range(start, epochs):
        generator = torch.Generator().manual_seed(epoch)
        rows = torch.randn(len(labels), 4, generator=generator) * (1.0 + labels[:, None])
        for part in torch.randperm(len(labels), generator=generator).split(17):
            loss = criterion(model(rows[part]), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = (model(rows).argmax(1) == labels).float()
        recorder.end_epoch(epoch, overall=100 * right.mean(), few=100 * right[labels == 2].mean(), own=epoch / 2)
        torch.save({"model": model.state_dict(), "epoch": epoch}, f"{saved}.tmp")
        os.replace(f"{saved}.tmp", saved)
    return model, criterion


def observe(criterion, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    rows = torch.randn(len(labels), 3, generator=generator) * (1.0 + labels[:, None])
    criterion(rows.requires_grad_(), labels).backward()


def lines_of(folder):
    return [line for text in (Path(folder) / "log.txt").read_text().splitlines() for line in whole_objects(text)[0]]


def fresh(made=ReweightedLoss, **options):
    return made(ClassVolume(COUNTS, **options))


def end_epochs(recorder, *seeds, **metrics):
    """An epoch for each seed of `observe`; without a criterion, as many epochs."""
    for seed in seeds:
        if recorder.criterion is not None:
            observe(recorder.criterion, seed)
        recorder.end_epoch(**metrics)


def recorded(folder, epochs=2, **metrics):
    """The criterion of a run of some epochs."""
    criterion = fresh()
    end_epochs(RunRecorder(folder, criterion), *range(epochs), **metrics)
    return criterion


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.*")}


if __name__ == "__main__":
    if len(sys.argv) > 3:
        sys.path.insert(0, str(Path(__file__).parent))
        from faults.kill_switch import arm

        arm(sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
    run(sys.argv[1], int(sys.argv[2]))
