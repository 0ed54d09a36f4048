"""Runs and methods, whichever files they were read from."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.hosts.host import Host, Metric, RunFiles
from vlltr_plugin.runs.log import Line

if TYPE_CHECKING:
    from vlltr_plugin.report.evaluate.evaluation import Choice
    from vlltr_plugin.report.tradeoff.curve import TradeOff

EVALUATED = (
    Metric("macro", "eval_macro_top1", "mean over classes"),
    Metric("harmonic", "eval_harmonic_top1", "harmonic mean"),
    Metric("ece", "eval_ece", "calibration error"),
)
"""What an evaluation says of the overall prediction beyond the host's log, `eval_` before its own keys.

Less is better for `ece`.
"""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation was made on, and its trade-off curve."""

    host: str | None  # None for the logits of any model
    split: str
    images: int
    limited: bool  # only a part of the split
    labels: str  # digest, equal for equal images
    epoch: int | None
    checkpoint: str | None  # name of the file; None for the logits of any model
    groups: Convention
    curve: TradeOff | None = None
    no_curve: str = ""  # why there is none
    choice: Choice | None = None


@dataclass(frozen=True, kw_only=True)
class Run(RunFiles):
    """One training run: what it left, or what `vlltr-plugin evaluate` wrote about it."""

    path: Path  # as the user gave it
    host: Host
    evaluated: Evaluated | None = None
    groups: Convention | None = None  # None where the thresholds are not known

    @property
    def best_epoch(self) -> int | None:
        """The first epoch of the best overall top-1 accuracy on the validation split; nan is no accuracy."""
        overall = self.host.overall.key
        scored = [epoch for epoch, line in self.log.epochs.items() if isfinite(line.get(overall, nan))]
        return max(scored, key=lambda epoch: self.log.epochs[epoch][overall], default=None)

    @property
    def last_epoch(self) -> int | None:
        """The last epoch in the log."""
        return max(self.log.epochs, default=None)

    def line(self, stage: str) -> Line | None:
        """The line of the `"best"` or `"last"` epoch, or of the final `"test"`; None if there is none."""
        if stage == "test":
            return self.log.test
        epoch = self.best_epoch if stage == "best" else self.last_epoch
        return None if epoch is None else self.log.epochs[epoch]


@dataclass(frozen=True)
class Method:
    """A method: its name, different from any other in a comparison, and its runs, which differ in their seeds."""

    name: str
    runs: tuple[Run, ...]

    @property
    def host(self) -> Host:
        """The host of its runs."""
        return self.runs[0].host

    @property
    def has_epochs(self) -> bool:
        """Whether any run has a line for an epoch."""
        return any(run.log.epochs for run in self.runs)
