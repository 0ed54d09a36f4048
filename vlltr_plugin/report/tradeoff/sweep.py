"""What a model predicts once tau times the log prior has been taken off its logits, for each of several taus."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
from vlltr_plugin.report.tradeoff.predictions import ONE_BRANCH_RULES, PredictionCollector
from vlltr_plugin.report.tradeoff.spans import between_margins, right_between

SWEPT_RULES = ("mixture", "sum")
"""The two rules of a model with two branches; a model with one output has the rule `single`."""

MIXTURE_TAUS = tuple(0.25 * step for step in range(-16, 33))
"""Where the mixture of softmaxes is looked at; unlike the other rules it has no closed form between them."""


@dataclass(frozen=True)
class Adjusted:
    """Predictions of one rule at one tau; arrays `[N]`.

    Attributes:
        top1: the predicted class, int64.
        confidence: its probability, float64.
    """

    top1: NDArray[np.int64]
    confidence: NDArray[np.float64]


class SweepCollector(PredictionCollector):
    """A `PredictionCollector` that also predicts at each tau; nothing of size C stays of an image.

    The adjustment is that of Menon et al., ICLR 2021, Eq. 9: `logits - tau * log prior`. Of a model with two branches
    each branch is adjusted, as each was trained under that prior: the mixture is of the softmaxes of the adjusted
    logits, the sum of the adjusted logits.

    Args:
        num_classes: C.
        visual_share: part of the visual branch in the mixture of softmaxes.
        taus: as `checked_taus` gives them. At 0 nothing is taken off: the predictions are those of the base class.
        log_prior: float64 `[C]`, as `prior.log_prior` gives it.
    """

    def __init__(
        self, num_classes: int, visual_share: float, taus: Sequence[float], log_prior: NDArray[np.float64]
    ) -> None:
        super().__init__(num_classes, visual_share)
        self.taus = checked_taus(taus)
        self._log_prior = torch.from_numpy(log_prior)
        self._adjusted: dict[str, list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = {}
        self._right: dict[str, list[NDArray[np.float64]]] = {}

    def add(self, outputs: Tensor | tuple[Tensor, ...] | list[Tensor], labels: Tensor) -> None:
        """Adds a batch; see `PredictionCollector.add`."""
        super().add(outputs, labels)
        branches = [_widened(logits) for logits in ([outputs] if isinstance(outputs, Tensor) else outputs)]
        log_prior = self._log_prior.to(branches[0])
        at_each = list(self._at_each_tau(branches, log_prior))
        for rule in at_each[0] if at_each else ():
            top1, confidence = (
                torch.stack(column).cpu() for column in zip(*(one[rule] for one in at_each), strict=True)
            )
            self._adjusted.setdefault(rule, []).append((top1.numpy(), confidence.double().numpy()))
        for rule, spans in self._spans(branches, labels, log_prior).items():
            self._right.setdefault(rule, []).append(spans)

    def adjusted(self) -> dict[str, dict[float, Adjusted]]:
        """By rule (`SWEPT_RULES`, or `single`), then by tau."""
        plain = self.predictions()
        rules = ONE_BRANCH_RULES if ONE_BRANCH_RULES[0] in plain else SWEPT_RULES
        found = {}
        for rule in rules:
            parts = zip(*self._adjusted.get(rule, []), strict=True)
            rows = zip(*(np.concatenate(part, axis=1) for part in parts), strict=True)
            found[rule] = {
                tau: Adjusted(*next(rows)) if tau else Adjusted(plain[rule].top1, plain[rule].confidence)
                for tau in self.taus
            }
        return found

    def right(self) -> dict[str, NDArray[np.float64]]:
        """By rule the taus between which each image is right, `[2, N]`; see spans.py."""
        return {rule: np.concatenate(parts, axis=1) for rule, parts in self._right.items()}

    def _at_each_tau(self, branches: list[Tensor], log_prior: Tensor) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
        """`_best` at each tau but 0, in one memory for all: new tensors for each tau would fragment the heap."""
        adjusted = [torch.empty_like(logits) for logits in branches]
        for tau in filter(None, self.taus):
            for logits, own in zip(branches, adjusted, strict=True):
                torch.sub(logits, tau * log_prior, out=own)
            yield self._best(adjusted)

    def _best(self, branches: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """The most probable class and its probability by each rule, `[B]` each; overwrites the branches."""
        if len(branches) == 1:
            return {"single": _most_probable(branches[0])}
        confidence, top1 = self._mixture(branches).max(dim=1)
        return {"mixture": (top1, confidence), "sum": _most_probable(branches[0].add_(branches[1]))}

    def _mixture(self, branches: list[Tensor]) -> Tensor:
        first, second = branches
        return first.softmax(1) * self.visual_share + second.softmax(1) * (1 - self.visual_share)

    def _spans(self, branches: list[Tensor], labels: Tensor, log_prior: Tensor) -> dict[str, NDArray[np.float64]]:
        """See `right`."""
        on_cpu, prior = labels.cpu().numpy(), self._log_prior.numpy()
        if len(branches) == 1:
            return {"single": right_between(branches[0].cpu().numpy(), on_cpu, prior)}
        rows = []
        for tau in MIXTURE_TAUS:
            mixture = self._mixture([logits - tau * log_prior for logits in branches]).log_()
            own = mixture.gather(1, labels[:, None])[:, 0]
            rows.append((own - mixture.scatter_(1, labels[:, None], -torch.inf).amax(dim=1)).cpu().double().numpy())
        return {
            "mixture": between_margins(np.stack(rows), np.array(MIXTURE_TAUS)),
            "sum": right_between((branches[0] + branches[1]).cpu().numpy(), on_cpu, 2 * prior),
        }


def _widened(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _most_probable(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The predicted class and its probability; overwrites the logits."""
    top1 = logits.argmax(dim=1)
    highest = logits.gather(1, top1[:, None])
    return top1, logits.sub_(highest).exp_().sum(dim=1).reciprocal()


CHUNK = 2**19
"""Logits looked at together: 2 MiB of float32, so that what is made of them fits a processor's cache."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Logits:
    """Logits that fit together with what is needed to read them.

    Attributes:
        logits: finite, floating point, `[N, C]`.
        labels: int64 `[N]`.
        counts: training images of each class, int64 `[C]`.
        draws: expected draws of each class, float64 `[C]`; None if not known.
    """

    logits: Tensor
    labels: Tensor
    counts: Ints
    draws: NDArray[np.float64] | None


def trade_off(
    logits: Any,
    labels: Any,
    counts: Any,
    draws: Any = None,
    taus: Sequence[float] = DEFAULT_TAUS,
    groups: Convention = UPSTREAM,
) -> TradeOff:
    """Accuracies of a model when `tau * log(prior)` is taken off its logits, for each tau.

    Args:
        logits: of the model on N images, finite, `[N, C]`; an array or a tensor.
        labels: whole numbers in 0..C-1, `[N]`.
        counts: n_i, training images of each class, `[C]`: they make the groups. A class without any is in none, and
            counts overall.
        draws: m_i, expected draws of each class in training, `[C]`, where the sampler was not uniform; the prior then.
            Default: `counts` are the prior. A class with prior 0 is adjusted as the rarest one that has more.
        taus: at which the numbers are told; the default goes on until top-1 falls. The curve is known at all.
        groups: thresholds of many, medium and few; `report.groups.OTHERS` are those of most papers.

    Returns:
        The curve: `rows` for the numbers of tradeoff.csv, `points["single"]` for all.

    Raises:
        TradeOffError: naming the argument that does not fit; it is a ValueError.
        MissingExtraError: torchmetrics is not installed.
    """
    given = checked(logits, labels, counts, draws)
    prior = given.counts.astype(np.float64) if given.draws is None else given.draws
    name = "counts" if given.draws is None else "draws"
    (collector,) = swept([given], taus, prior)
    return curve_of(collector, given.counts, name, groups)


def swept(given: Sequence[Logits], taus: Sequence[float], prior: NDArray[np.float64]) -> list[SweepCollector]:
    """Predictions at each tau, and at 0, on each of several sets of images; all at the same taus.

    Args:
        given: of one model.
        taus: to sweep; see `until_it_falls`.
        prior: `[C]`.
    """
    taus = checked_taus(taus)
    found = [_swept(one, taus, prior) for one in given]
    wanted = until_it_falls(taus, [collector.right()[ONE_BRANCH_RULES[0]] for collector in found])
    return found if wanted == taus else [_swept(one, wanted, prior) for one in given]


def _swept(given: Logits, taus: Sequence[float], prior: NDArray[np.float64]) -> SweepCollector:
    number, classes = given.logits.shape
    collector = SweepCollector(classes, 0.0, taus, log_prior(prior))
    rows = max(1, CHUNK // classes)
    for start in range(0, number, rows):
        collector.add(given.logits[start : start + rows], given.labels[start : start + rows])
    return collector


def checked(logits: Any, labels: Any, counts: Any, draws: Any = None) -> Logits:
    """Takes arrays or tensors that fit together.

    Raises:
        TradeOffError: naming the one that does not.
    """
    outputs = _tensor("logits", logits)
    if outputs.ndim != 2 or 0 in outputs.shape:
        raise TradeOffError(f"Expected logits of shape [N, C], none of them 0, but got {list(outputs.shape)}.")
    number, classes = outputs.shape
    if not outputs.is_floating_point():
        outputs = outputs.double()
    rows = max(1, CHUNK // classes)
    for start in range(0, number, rows):
        bad = (~outputs[start : start + rows].isfinite().all(dim=1)).nonzero()
        if len(bad):
            raise TradeOffError(f"Expected finite logits but those of image {start + int(bad[0])} (from 0) are not.")
    of_image = _whole("labels", labels, number, "image")
    if bool(((of_image < 0) | (of_image >= classes)).any()):
        low, high = int(of_image.min()), int(of_image.max())
        raise TradeOffError(f"Expected labels in 0..{classes - 1} but found {low if low < 0 else high}.")
    of_class = _whole("counts", counts, classes, "class")
    if bool((of_class < 0).any()) or not bool(of_class.any()):
        raise TradeOffError("Expected counts that are not negative and not all 0.")
    return Logits(outputs, of_image, of_class.numpy(), None if draws is None else _draws(draws, classes))


def _draws(draws: Any, classes: int) -> NDArray[np.float64]:
    values = _tensor("draws", draws)
    if list(values.shape) != [classes]:
        raise TradeOffError(f"Expected draws of shape [{classes}], one a class, but got {list(values.shape)}.")
    log_prior(values.double().numpy())  # refuses what has no logarithm
    return values.double().numpy()


def _whole(name: str, given: Any, length: int, what: str) -> Tensor:
    """Whole numbers, int64 `[length]`."""
    values = _tensor(name, given)
    if list(values.shape) != [length]:
        raise TradeOffError(f"Expected {name} of shape [{length}], one for each {what}, but got {list(values.shape)}.")
    if values.is_floating_point() and not bool((values.isfinite() & (values == values.round())).all()):
        raise TradeOffError(f"Expected {name} to be whole numbers but got others.")
    return values.long()


def _tensor(name: str, given: Any) -> Tensor:
    """Numbers, on the CPU, in full whatever torch's default dtype and device; nothing is copied that need not be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a read-only array: nothing is written to it
            numbers = given if isinstance(given, Tensor) else _as_torch_takes_it(np.asarray(given))
            values = torch.as_tensor(numbers, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as error:
        kind = f"{type(given).__name__} of {given.dtype}" if hasattr(given, "dtype") else type(given).__name__
        raise TradeOffError(f"Expected {name} to be an array of numbers but got {kind}.") from error
    if values.is_complex() or values.dtype == torch.bool:
        raise TradeOffError(f"Expected {name} to be real numbers but got {values.dtype}.")
    return values


def _as_torch_takes_it(numbers: NDArray[Any]) -> NDArray[Any]:
    """In this machine's order of bytes, and no view that runs backwards; copied where it is not so already."""
    if not numbers.dtype.isnative:
        numbers = numbers.astype(numbers.dtype.newbyteorder("="))
    return numbers.copy() if any(stride < 0 for stride in numbers.strides) else numbers
