"""Compares the samples of each class drawn in the epochs of a run with the declared class counts and draws."""

import math

import torch
from torch import Tensor

from vlltr_plugin.core.arguments import listed
from vlltr_plugin.core.weighting import Weighting

ENOUGH = 0.9  # share of an epoch's samples below which nothing is compared (data sorted by class, a debugging run)
TOO_FAR = 0.1  # share of the samples that are in other classes than declared (total variation distance)
COPIES = 3.0  # draws that count as one independent sample: repeated augmentation shows an image three times in a row
CHANCE = 3.4  # standard deviations: one chance in 3,000 for independent samples, each drawn `COPIES` times
LONGER = 1.05  # ratio of first to second epoch length from which on the first is called longer


class DrawnEpochs:
    """Compares the samples drawn in a run's epochs on all ranks with the class counts and draws of its weighting."""

    def __init__(self, weighting: Weighting) -> None:
        self._weighting = (weighting,)  # a tuple, so that it does not become a submodule
        # Samples of an epoch that reads each training sample once; read only once, since reading waits for a GPU.
        self.declared = float(weighting.class_counts.sum())
        self.restart()

    def restart(self) -> None:
        """Forgets all epochs."""
        self._drawn = torch.zeros(self._weighting[0].num_classes, dtype=torch.float64, device="cpu")
        self._independent, self._lengths = 0.0, [0.0, 0.0]
        self.ended, self.longest = 0, 0.0  # number of ended epochs with samples, and the samples of the longest

    def add(self, drawn: Tensor, images: float = math.inf) -> None:
        """Adds an epoch: the samples of each class, and the number of images if samples are pixels."""
        drawn = drawn.double().cpu()
        total = float(drawn.sum())
        if total <= 0:
            return
        self._drawn = self._drawn + drawn  # a new tensor, since the old one may come from inference mode
        # Passes beyond the first are taken for copies: several views, heads or parts of a batch.
        self._independent += min(total, images, self.declared)
        if self.ended < len(self._lengths):
            self._lengths[self.ended] = total
        self.ended += 1
        self.longest = max(self.longest, total)

    def other_classes(self) -> str | None:
        """Describes how the drawn classes differ from those declared; None if they match or chance may explain it."""
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
        named = f"; largest excess: {listed(classes)}" if len(classes) > 1 else ""
        came, declared = float(self._drawn[most]), float(expected[most])
        return f"class {most} was drawn {came:.0f} times, expected {declared:.0f}{named}"

    def first_was_longer(self) -> str | None:
        """Says how much longer the first epoch was than the second; None if it was not, or probably on purpose."""
        first, second = self._lengths
        if self.ended != len(self._lengths) or abs(second / self.declared - 1) > 1 - ENOUGH:
            return None
        passes = first / second  # a whole number is fine: a warm-up
        if first <= LONGER * max(second, self.declared) or abs(passes - round(passes)) < LONGER - 1:
            return None
        return f"{first:.0f} samples came in the first epoch but {second:.0f} in the second"


def deviations(drawn: Tensor, draws: Tensor) -> float:
    """How improbable the samples `[C]` are for independent draws, in standard deviations of a normal variable.

    Pearson's chi^2 with the exact mean and variance of a multinomial (Haldane, 1937), which matter where few samples
    are expected of a class, and the cube root of Wilson and Hilferty (1931) of a gamma variable with both. Infinity if
    a class came that is never drawn, minus infinity for fewer than two classes.
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
