"""The definitions again, as naive float64 loops over samples held in memory."""

import math

import numpy as np
import torch


def log_radius_of(samples: np.ndarray, masses: np.ndarray, copies: np.ndarray | None = None) -> float:
    """Mean over the features of log sigma, with reliability weights; nan below two samples' worth.

    `copies` says how often each image came if some samples are of one image.
    """
    samples, masses = np.asarray(samples, np.float64), np.asarray(masses, np.float64)
    total = masses.sum()
    repeated = masses if copies is None else copies
    freedom = total - (repeated**2).sum() / total if total > 0 else 0.0
    if freedom <= 0:
        return math.nan
    log_sigmas = []
    for k in range(samples.shape[1]):
        mean = sum(w * x for w, x in zip(masses, samples[:, k], strict=True)) / total
        variance = sum(w * (x - mean) ** 2 for w, x in zip(masses, samples[:, k], strict=True)) / freedom
        log_sigmas.append(0.5 * math.log(variance) if variance > 0 else -math.inf)
    return sum(log_sigmas) / len(log_sigmas)


def projection(num_classes: int, label: int) -> np.ndarray:
    """Eq. 8: the rows e_i - e_j, j != i."""
    rows = []
    for j in range(num_classes):
        if j != label:
            row = np.zeros(num_classes)
            row[label], row[j] = 1.0, -1.0
            rows.append(row)
    return np.array(rows)


def weights_of(log_radii, counts, draws=None, divide_by="draws", normalize="expected", min_samples=2, mass=None):
    """Eq. 6 and 16 with S30-like substitution, class by class."""
    counts = [float(n) for n in counts]
    draws = counts if draws is None else [float(m) for m in draws]
    mass = counts if mass is None else mass
    good = [math.isfinite(r) and min(n, m) >= min_samples for r, n, m in zip(log_radii, counts, mass, strict=True)]
    mean = sum(r for r, ok in zip(log_radii, good, strict=True) if ok) / sum(good)
    radii = [math.exp(r if ok else mean) for r, ok in zip(log_radii, good, strict=True)]
    divisor = draws if divide_by == "draws" else counts
    present = [n > 0 and m > 0 for n, m in zip(counts, draws, strict=True)]
    share = {"expected": draws, "dataset": counts, "mean": [1.0] * len(counts)}[normalize]
    raw = [r / q if here else 0.0 for r, q, here in zip(radii, divisor, present, strict=True)]
    total = sum(s for s, here in zip(share, present, strict=True) if here)
    beta = total / sum(s * a for s, a in zip(share, raw, strict=True))
    return np.array([beta * a if here else 1.0 for a, here in zip(raw, present, strict=True)])


def observed(weighting, seed=0, batches=4, epochs=1):
    """A weighting after epochs of seeded logits whose spread grows with the class."""
    generator = torch.Generator().manual_seed(seed)
    classes = weighting.num_classes
    spread = 1 + torch.arange(classes)
    for _ in range(epochs):
        for _ in range(batches):
            labels = torch.randint(classes, (16 * classes,), generator=generator)
            rows = torch.randn(16 * classes, classes, generator=generator) * spread[labels][:, None]
            weighting.observe(rows, labels)
        weighting.end_epoch()
    return weighting


def hard_loss(base, z, label):
    """The loss of one row of logits under one hard label."""
    if base == "softmax":
        return math.log(sum(math.exp(x - max(z)) for x in z)) + max(z) - z[label]
    if base == "brier":
        p = [math.exp(x - max(z)) / sum(math.exp(other - max(z)) for other in z) for x in z]
        return sum((x - (j == label)) ** 2 for j, x in enumerate(p))
    gamma = 2.0 if base == "focal" else 0.0
    total = 0.0
    for j, x in enumerate(z):
        p = 1 / (1 + math.exp(-x if j == label else x))
        total -= (1 - p) ** gamma * math.log(p)
    return total


def elements(logits, targets):
    """Rows of logits and their targets (a label, or masses) as Python numbers: samples, or pixels of dense logits."""
    logits = logits.detach().double().numpy()
    soft = targets.is_floating_point()
    targets = targets.double().numpy() if soft else targets.numpy()
    for index in np.ndindex(logits.shape[0], *logits.shape[2:]):
        everything = (index[0], slice(None), *index[1:])
        yield logits[everything].tolist(), targets[everything].tolist() if soft else int(targets[index])


def element_loss(base, z, target, alpha, smoothing):
    """sum_k m_k alpha_k LS_eps(z, k) of one element."""
    classes = len(z)
    parts = [(target, 1.0)]
    if isinstance(target, list):
        parts = [(k, (t - smoothing / classes) / (1 - smoothing)) for k, t in enumerate(target)]
    uniform = sum(hard_loss(base, z, k) for k in range(classes)) / classes if smoothing else 0.0
    return sum(
        mass * alpha[k] * ((1 - smoothing) * hard_loss(base, z, k) + smoothing * uniform) for k, mass in parts if mass
    )


def mean_loss(base, logits, targets, alpha, smoothing=0.0, ignore_index=None):
    """The plain mean over the elements that are not ignored."""
    losses = [
        element_loss(base, z, target, alpha, smoothing)
        for z, target in elements(logits, targets)
        if isinstance(target, list) or target != ignore_index
    ]
    return sum(losses) / len(losses)
