"""The trade-off curve of given logits."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.core.shot_groups import UPSTREAM, Convention
from vlltr_plugin.report.tradeoff.curve import (
    DEFAULT_TAUS,
    TradeOff,
    TradeOffError,
    checked_taus,
    curve_of,
    log_prior,
    until_it_falls,
)
from vlltr_plugin.report.tradeoff.predictions import PredictionCollector

if TYPE_CHECKING:  # `compare` reads curves without torch
    from torch import Tensor

CHUNK = 2**19  # logits processed together: 2 MiB of float32, so that intermediate results fit the CPU cache


@dataclass(frozen=True)
class Logits:
    """Logits `[N, C]`, finite and floating point, with labels `[N]`, class counts `[C]` and, if known, draws `[C]`."""

    logits: Tensor
    labels: Tensor
    counts: NDArray[np.int64]
    draws: NDArray[np.float64] | None


def trade_off(
    logits: Any,
    labels: Any,
    counts: Any,
    draws: Any = None,
    taus: Sequence[float] = DEFAULT_TAUS,
    groups: Convention = UPSTREAM,
) -> TradeOff:
    """Accuracies of a model when `tau * log(prior)` is subtracted from its logits, for each tau.

    Args:
        logits: logits of N images, finite, `[N, C]`; an array or a tensor.
        labels: whole numbers in 0..C-1, `[N]`.
        counts: n_i, training images of each class, `[C]`; they define the groups. A class without training images
            is in no group and counts in the overall accuracy only.
        draws: m_i, expected draws of each class in training, `[C]`, if the sampler was not uniform; used as the prior.
            Default: the prior is `counts`. A class with prior 0 is adjusted like the rarest class with a larger prior.
        taus: the taus to report; the default sweep continues until top-1 falls. `place` uses the curve at every tau.
        groups: thresholds of many, medium and few; `core.shot_groups.OTHERS` are those of most papers.

    Returns:
        The curve: `rows` for the numbers of tradeoff.csv, `points["single"]` for all.

    Raises:
        TradeOffError: naming the argument that does not fit; it is a ValueError.
        MissingExtraError: if torchmetrics is not installed.
    """
    given = checked(logits, labels, counts, draws)
    prior = given.counts.astype(np.float64) if given.draws is None else given.draws
    name = "counts" if given.draws is None else "draws"
    (collector,) = swept([given], taus, prior)
    return curve_of(collector, given.counts, name, groups)


def swept(images: Sequence[Logits], taus: Sequence[float], prior: NDArray[np.float64]) -> list[PredictionCollector]:
    """Predictions of one model on several sets of images, at the same taus; see `until_it_falls`."""

    def collect(taus: Sequence[float]) -> list[PredictionCollector]:
        found = [PredictionCollector(one.logits.shape[1], taus, log_prior(prior)) for one in images]
        for collector, one in zip(found, images, strict=True):
            rows = max(1, CHUNK // one.logits.shape[1])
            for logits, labels in zip(one.logits.split(rows), one.labels.split(rows), strict=True):
                collector.add(logits, labels)
        return found

    taus = checked_taus(taus)
    found = collect(taus)
    wanted = until_it_falls(taus, found)
    return found if wanted == taus else collect(wanted)


def checked(logits: Any, labels: Any, counts: Any, draws: Any = None) -> Logits:
    """Checks arrays or tensors and returns `Logits`; a TradeOffError names the argument that does not fit."""
    import torch

    outputs = _tensor("logits", logits)
    if outputs.ndim != 2 or 0 in outputs.shape:
        raise TradeOffError(f"Expected logits of shape [N, C], none of them 0, but got {list(outputs.shape)}.")
    number, classes = outputs.shape
    if not outputs.is_floating_point():
        outputs = outputs.double()
    finite = torch.cat([rows.isfinite().all(dim=1) for rows in outputs.split(max(1, CHUNK // classes))])
    if not bool(finite.all()):
        image = int((~finite).nonzero()[0])
        raise TradeOffError(f"Expected finite logits but those of image {image} (from 0) are not finite.")
    of_image = _vector("labels", labels, number, "image", whole=True)
    if bool(((of_image < 0) | (of_image >= classes)).any()):
        low, high = int(of_image.min()), int(of_image.max())
        raise TradeOffError(f"Expected labels in 0..{classes - 1} but found {low if low < 0 else high}.")
    of_class = _vector("counts", counts, classes, "class", whole=True)
    if bool((of_class < 0).any()) or not bool(of_class.any()):
        raise TradeOffError("Expected counts that are not negative and not all 0.")
    drawn = None if draws is None else _vector("draws", draws, classes, "class").double().numpy()
    if drawn is not None:
        log_prior(drawn)  # raises an error if there is no logarithm
    return Logits(outputs, of_image, of_class.numpy(), drawn)


def _vector(name: str, given: Any, length: int, what: str, whole: bool = False) -> Tensor:
    """Checks numbers `[length]`, one per image or class; `whole` numbers become int64."""
    values = _tensor(name, given)
    if list(values.shape) != [length]:
        raise TradeOffError(f"Expected {name} of shape [{length}], one for each {what}, but got {list(values.shape)}.")
    if whole and values.is_floating_point() and not bool((values.isfinite() & (values == values.round())).all()):
        raise TradeOffError(f"Expected {name} to be whole numbers but got fractions or other values.")
    return values.long() if whole else values


def _tensor(name: str, given: Any) -> Tensor:
    """Numbers on the CPU, whatever torch's default dtype and device; copied only if torch cannot share the memory."""
    import torch

    try:
        if not isinstance(given, torch.Tensor):
            given = np.asarray(given)
            native = given.astype(given.dtype.newbyteorder("="), copy=False)
            given = native.copy() if any(stride < 0 for stride in native.strides) else native
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warning about a read-only array; nothing is written to it
            values = torch.as_tensor(given, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as error:
        kind = f"{type(given).__name__} of {given.dtype}" if hasattr(given, "dtype") else type(given).__name__
        raise TradeOffError(f"Expected {name} to be an array of numbers but got {kind}.") from error
    if values.is_complex() or values.dtype == torch.bool:
        raise TradeOffError(f"Expected {name} to be real numbers but got {values.dtype}.")
    return values
