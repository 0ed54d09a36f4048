"""The samples of each class that training draws: counted, and compared with what class counts and draws declare."""

import math
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.arguments import listed
from vlltr_plugin.core.targets import constituent_masses
from vlltr_plugin.core.torch_context import cheap_to_read, outside_inference_mode, unshare
from vlltr_plugin.core.weighting import Weighting


class DrawCounter:
    """Adds up the samples of each class on the device that they come on; mixed ones by mass.

    Args:
        num_classes: C.
    """

    @outside_inference_mode
    def __init__(self, num_classes: int) -> None:
        self.drawn = torch.zeros(num_classes, dtype=torch.float64, device="cpu")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """After a copy or unpickling."""
        vars(self).update(state)
        unshare(vars(self))

    @outside_inference_mode
    def add(self, targets: Tensor, smoothing: float = 0.0, kept: Tensor | None = None) -> None:
        """Counts a batch; labels out of range, which only a GPU lets pass until here, are left out.

        Args:
            targets: int64 `[B]` or floating point `[B, C]`, on a device that holds float64.
            smoothing: label smoothing already in floating point targets.
            kept: which rows count, bool `[B]`; None for all.
        """
        self.drawn = self.drawn.to(targets.device)
        if targets.is_floating_point():
            mean = targets.detach().mean(dim=0, keepdim=True, dtype=torch.float64)  # masses are linear in targets
            if len(targets):
                self.drawn += len(targets) * constituent_masses(mean, smoothing)[0]
            return
        if kept is None and cheap_to_read(targets):  # whose labels were checked
            self.drawn += torch.bincount(targets, minlength=len(self.drawn))
            return
        counted = (targets >= 0) & (targets < len(self.drawn))
        counted = counted if kept is None else counted & kept.to(targets.device)
        self.drawn.index_add_(0, targets.clamp(0, len(self.drawn) - 1), counted.double())

    @outside_inference_mode
    def take(self) -> Tensor:
        """What was counted since the last call, float64 `[C]`."""
        drawn, self.drawn = self.drawn, torch.zeros_like(self.drawn)
        return drawn


ENOUGH = 0.9
"""Of an epoch's samples: before as many came, nothing is compared (data sorted by class, a debugging run)."""

TOO_FAR = 0.1
"""Share of the samples that came in other classes than declared (total variation distance)."""

COPIES = 3.0
"""Draws that count as one independent sample: repeated augmentation shows an image three times in a row."""

CHANCE = 3.4
"""Standard deviations: one chance in 3,000 for independent samples, each drawn `COPIES` times."""

LONGER = 1.05
"""How many times as long as the second epoch a first one must be to be called longer."""


class DrawnEpochs:
    """The samples that the epochs of one run drew, added up over all ranks.

    Args:
        weighting: whose `class_counts` and `draws` were declared.

    Attributes:
        declared: samples of an epoch that reads each training sample once.
        ended: epochs with samples that ended.
        longest: samples of the longest epoch that ended; 0 before the first.
    """

    def __init__(self, weighting: Weighting) -> None:
        # A tuple, so that it is no submodule or buffer of whatever holds this.
        self._weighting = (weighting,)
        self.declared = float(weighting.class_counts.sum())  # once: on a GPU, reading it waits
        self.restart()

    def restart(self) -> None:
        """Forgets all epochs."""
        self._drawn = torch.zeros(self._weighting[0].num_classes, dtype=torch.float64, device="cpu")
        self._independent, self._lengths, self.longest = 0.0, [0.0, 0.0], 0.0
        self.ended = 0

    def add(self, drawn: Tensor, images: float = math.inf) -> None:
        """Adds an epoch that has ended.

        Args:
            drawn: how many samples of each class came on all ranks, `[C]`.
            images: how many images they belong to, where a sample is a pixel.
        """
        drawn = drawn.double().cpu()
        total = float(drawn.sum())
        if total <= 0:
            return
        self._drawn = self._drawn + drawn  # a new tensor: the old one may be of inference mode
        # Passes beyond the first are taken for copies: several views, heads or parts of a batch.
        self._independent += min(total, images, self.declared)
        if self.ended < len(self._lengths):
            self._lengths[self.ended] = total
        self.ended += 1
        self.longest = max(self.longest, total)

    def other_classes(self) -> str | None:
        """What came in other classes than declared, in words; None where it fits, or chance may explain it."""
        total, draws = float(self._drawn.sum()), self._weighting[0].draws.cpu()
        if total <= 0 or total < ENOUGH * self.declared:
            return None
        expected = total * (draws / draws.sum())
        surplus = self._drawn - expected
        far = float(surplus.abs().sum()) / (2 * total) > TOO_FAR
        independent = self._independent / COPIES
        if not far or deviations(self._drawn * (independent / total), draws) <= CHANCE:
            return None
        most = int((surplus / (expected + 1)).argmax())
        classes = ((surplus > expected) & (surplus > 3 * (expected + 1).sqrt())).nonzero().flatten().tolist()
        named = f", most of all classes {listed(classes)}" if len(classes) > 1 else ""
        return f"of class {most} {float(self._drawn[most]):.0f} instead of {float(expected[most]):.0f}{named}"

    def first_was_longer(self) -> str | None:
        """How much longer than the second epoch the first was; None where it was not, or loops do so on purpose.

        The second epoch must be about the declared one. A first epoch of several whole passes (a warm-up) fits.
        """
        first, second = self._lengths
        if self.ended != len(self._lengths) or abs(second / self.declared - 1) > 1 - ENOUGH:
            return None
        passes = first / second
        if first <= LONGER * max(second, self.declared) or abs(passes - round(passes)) < LONGER - 1:
            return None
        return f"{first:.0f} samples came in the first epoch but {second:.0f} in the second"


def deviations(drawn: Tensor, draws: Tensor) -> float:
    """How improbable independent draws are, as standard deviations of a normal variable.

    Pearson's chi^2 with the exact mean and variance of a multinomial (Haldane, 1937), which matter where few samples
    are expected of a class, and the cube root of Wilson and Hilferty (1931) of a gamma variable with both.

    Args:
        drawn: samples of each class, not necessarily whole, `[C]`.
        draws: expected draws m_i, up to a factor, `[C]`.

    Returns:
        At most infinity (a class came that is never drawn); minus infinity for fewer than two classes.
    """
    possible = draws > 0
    if bool((drawn[~possible] > 0).any()):
        return math.inf
    total, classes = float(drawn.sum()), int(possible.sum())
    if classes < 2:
        return -math.inf
    expected = (total * (draws / draws.sum()))[possible]
    chi_square = float(((drawn[possible] - expected).square() / expected).sum())
    mean = classes - 1
    variance = max(2 * mean + float((1 / expected).sum()) - (classes**2 + 2 * classes - 2) / total, mean / 10)
    shape = mean**2 / variance
    cube_root: float = (chi_square / mean) ** (1 / 3)
    return (cube_root - 1 + 1 / (9 * shape)) * 3 * math.sqrt(shape)
