"""The samples of each class that the epochs of a run drew, compared with what class counts and draws declare."""

import math

import torch
from torch import Tensor

from vlltr_plugin.core.arguments import listed
from vlltr_plugin.core.weighting import Weighting

ENOUGH = 0.9  # share of an epoch's samples below which nothing is compared (data sorted by class, a debugging run)
TOO_FAR = 0.1  # share of the samples that came in other classes than declared (total variation distance)
COPIES = 3.0  # draws that count as one independent sample: repeated augmentation shows an image three times in a row
CHANCE = 3.4  # standard deviations: one chance in 3,000 for independent samples, each drawn `COPIES` times
LONGER = 1.05  # how many times as long as the second epoch a first one must be to be called longer


class DrawnEpochs:
    """The samples that the epochs of one run drew on all ranks, against the class counts and draws of its weighting."""

    def __init__(self, weighting: Weighting) -> None:
        self._weighting = (weighting,)  # a tuple, so that it is no submodule or buffer of whatever holds this
        # Samples of an epoch that reads each training sample once; read once, since on a GPU it waits.
        self.declared = float(weighting.class_counts.sum())
        self.restart()

    def restart(self) -> None:
        """Forgets all epochs."""
        self._drawn = torch.zeros(self._weighting[0].num_classes, dtype=torch.float64, device="cpu")
        self._independent, self._lengths = 0.0, [0.0, 0.0]
        self.ended, self.longest = 0, 0.0  # epochs with samples that ended, and the samples of the longest

    def add(self, drawn: Tensor, images: float = math.inf) -> None:
        """Adds an epoch: the samples of each class, and the number of images if a sample is a pixel."""
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
        """How the classes drawn differ from those declared, in words; None if they match, or chance may explain it."""
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
        """How much longer the first epoch was than the second, in words; None if it was not, or is so on purpose."""
        first, second = self._lengths
        if self.ended != len(self._lengths) or abs(second / self.declared - 1) > 1 - ENOUGH:
            return None
        passes = first / second  # a whole number is fine: a warm-up
        if first <= LONGER * max(second, self.declared) or abs(passes - round(passes)) < LONGER - 1:
            return None
        return f"{first:.0f} samples came in the first epoch but {second:.0f} in the second"


def deviations(drawn: Tensor, draws: Tensor) -> float:
    """How improbable independent draws are, as standard deviations of a normal variable, of samples `[C]`.

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
