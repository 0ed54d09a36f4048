"""One epoch of training, and the long-tailed evaluation."""

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import utils
from torch import Tensor, nn

VISUAL_SHARE = 0.2  # of the visual branch in the mixture of the two predictions


def train_one_epoch(
    model: nn.Module,
    criterion: nn.Module,
    data_loader: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    epoch: int,
    loss_scaler: Any,
    max_norm: float | None = 0,
    model_ema: Any = None,
    mixup_fn: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    args: argparse.Namespace | None = None,
) -> dict[str, float]:
    """Train for one epoch.

    Returns:
        The epoch's averages of the losses and the learning rate, over all ranks.
    """
    model.train()
    metric_logger = utils.MetricLogger()
    two_branch = args is not None and args.two_branch
    for samples, targets in metric_logger.log_every(data_loader, 10, f"Epoch: [{epoch}]"):
        samples, targets = samples.to(device), targets.to(device)
        if mixup_fn is not None:
            samples, targets = mixup_fn(samples, targets)

        with torch.autocast(device.type, enabled=device.type == "cuda"):
            outputs = model(samples)
            if two_branch:
                loss0 = criterion(samples, outputs[0], targets)
                loss1 = criterion(samples, outputs[1], targets)
                loss = loss0 + loss1
                metric_logger.update(loss0=loss0.item(), loss1=loss1.item())
            else:
                loss = criterion(samples, outputs, targets)

        value = loss.item()
        if not math.isfinite(value):
            print(f"Stopping: the loss is {value}")
            sys.exit(1)

        optimizer.zero_grad()
        loss_scaler(loss, optimizer, clip_grad=max_norm or None, parameters=model.parameters())
        if model_ema is not None:
            model_ema.update(model)
        metric_logger.update(loss=value, lr=optimizer.param_groups[0]["lr"])

    metric_logger.synchronize_between_processes()
    print("Averages of the epoch:", metric_logger)
    return metric_logger.averages()


@torch.no_grad()
def evaluate_LT(  # noqa: N802
    data_loader: Iterable[tuple[Tensor, Tensor]],
    model: nn.Module,
    device: torch.device,
    args: argparse.Namespace | None = None,
    labels: Sequence[int] = (),
    prefix: str = "val",
) -> dict[str, float]:
    """Evaluate on one split.

    Args:
        data_loader: The split.
        model: Returns logits [B, C], or a pair of them with two branches.
        device: Where to run.
        args: The run's options (`two_branch`).
        labels: The training labels, which say which classes are many-, medium- and few-shot.
        prefix: Name of the split for the console.

    Returns:
        Mean losses, and accuracies in percent. With two branches `acc1` and `acc5` come from the mixture of the
        two softmaxes, and the groups of classes from the sum of the logits.
    """
    model.eval()
    batches, targets_of = [], []
    for samples, batch_targets in data_loader:
        outputs = model(samples.to(device))
        branches = outputs if isinstance(outputs, tuple) else (outputs,)
        batches.append(torch.stack([logits.float() for logits in branches]))
        targets_of.append(batch_targets.to(device))
    logits = torch.cat(batches, dim=1)  # [branches, N, C]
    targets = torch.cat(targets_of)

    losses = [F.cross_entropy(branch, targets).item() for branch in logits]
    stats = {"loss": sum(losses)}
    if len(logits) == 2:
        for number, branch in enumerate(logits):
            stats[f"loss{number}"] = losses[number]
            stats[f"acc{number}_1"] = top_k_accuracy(branch, targets, 1)
            stats[f"acc{number}_5"] = top_k_accuracy(branch, targets, 5)
        visual, image_text = logits.softmax(dim=-1)
        mixture = VISUAL_SHARE * visual + (1 - VISUAL_SHARE) * image_text
    else:
        mixture = logits[0]
    stats["acc1"] = top_k_accuracy(mixture, targets, 1)
    stats["acc5"] = top_k_accuracy(mixture, targets, 5)
    stats.update(shot_accuracies(logits.sum(dim=0).argmax(dim=-1), targets, labels))
    print(f"* {prefix}", " ".join(f"{key} {value:.2f}" for key, value in stats.items()))
    return stats


def top_k_accuracy(scores: Tensor, targets: Tensor, k: int) -> float:
    """Return the percentage of rows of `scores` [N, C] with the target among the `k` largest."""
    hits = (scores.topk(k, dim=-1).indices == targets[:, None]).any(dim=-1)
    return 100.0 * hits.float().mean().item()


def shot_accuracies(predictions: Tensor, targets: Tensor, labels: Sequence[int]) -> dict[str, float]:
    """Return the mean class accuracy, in percent, of each group of classes by number of training images."""
    hits = (predictions == targets).cpu().numpy()
    of_class = targets.cpu().numpy()
    classes = np.unique(of_class)
    counts = np.array([np.sum(np.asarray(labels) == c) for c in classes])
    accuracy = np.array([100.0 * hits[of_class == c].mean() for c in classes])
    groups = {
        "many": counts >= 100,
        "median": (counts > 20) & (counts < 100),
        "low": counts <= 20,
        "10-shot": counts <= 10,
        "5-shot": counts <= 5,
    }
    return {name: float(accuracy[of].mean()) if of.any() else math.nan for name, of in groups.items()}
