"""The part of an evaluation that sweeps tau: what is asked for, what evaluation.json says, what is printed.

The key `trade_off` of evaluation.json (accuracies and calibration errors in percent, unrounded):

- `prior` (`draws` or `counts`), `prior_source` in words, `without_prior`: number of classes whose prior is 0, which are
  adjusted as the rarest other one; `groups` (`upstream`, `others` or `MANY,FEW`), `taus`.
- `rows`: those of tradeoff.csv; with two branches `top1` is of the mixture and the groups are of the sum of logits, as
  in the host's log. `rules`: all numbers of each rule alone.
- `choice`: see `Choice`.
- `sha256`: of the tradeoff.npz that belongs to it.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from vlltr_plugin.core.shot_groups import GROUPS, UPSTREAM, Convention, convention_of
from vlltr_plugin.report.evaluate.evaluation import overall_rule
from vlltr_plugin.report.tradeoff.curve import TradeOff
from vlltr_plugin.report.tradeoff.prior import DEFAULT_TAUS, TradeOffError, checked_taus, log_prior


@dataclass(frozen=True)
class Sweep:
    """What the user asks of the curve.

    Attributes:
        taus: to sweep; 0, the model as it was trained, is always among them.
        prior: `"draws"` or `"counts"`; None takes the draws where they are known.
        groups: thresholds of many, medium and few.
        choose_tau: `"val"`: on the validation split; `"here"`: on the images evaluated; None: on the validation split
            where there is another one than that evaluated.
    """

    taus: tuple[float, ...] = DEFAULT_TAUS
    prior: str | None = None
    groups: Convention = UPSTREAM
    choose_tau: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "taus", checked_taus([0.0, *self.taus]))


def sweep_of(options: argparse.Namespace, groups: Convention | None = None) -> Sweep:
    """What the command line says: `tau`, `prior`, `groups` and `choose_tau`, each None where it is not given."""
    return Sweep(
        taus=DEFAULT_TAUS if options.tau is None else tuple(options.tau),
        prior=options.prior,
        groups=options.groups or groups or UPSTREAM,
        choose_tau=options.choose_tau,
    )


@dataclass(frozen=True)
class Prior:
    """The prior in use.

    Attributes:
        name: `"draws"` or `"counts"`.
        values: `[C]`.
        source: where it is known from, in words.
    """

    name: str
    values: NDArray[np.float64]
    source: str

    def log(self) -> NDArray[np.float64]:
        """See `log_prior`."""
        return log_prior(self.values)


def chosen_prior(
    wanted: str | None, counts: NDArray[np.int64], draws: NDArray[np.float64] | None, draws_source: str
) -> Prior:
    """The draws unless the counts are wanted, or the draws are not known.

    Raises:
        TradeOffError: where the draws are wanted and not known.
    """
    if wanted == "draws" and draws is None:
        raise TradeOffError(
            "Expected the draws for --prior draws but they are not known: give them, or --prior counts."
        )
    if wanted == "counts" or draws is None:
        return Prior("counts", counts.astype(np.float64), "training images of each class")
    return Prior("draws", draws, f"expected draws of each class: {draws_source}")


@dataclass(frozen=True)
class Choice:
    """Where tau was chosen.

    Attributes:
        tau: the one with the highest overall top-1.
        split: of the images that it was chosen on.
        same_images: whether these are the images evaluated.
        taus: all.
        top1: overall top-1 at each, in percent.
        why_here: why there was no validation split, where one was looked for.
    """

    tau: float
    split: str
    same_images: bool
    taus: tuple[float, ...]
    top1: tuple[float, ...]
    why_here: str = ""

    @property
    def words(self) -> str:
        """On which images, for a sentence."""
        if not self.same_images:
            return "chosen on the validation split"
        if self.split == "test":
            return "chosen on the test set itself, so a little too good"
        return f"chosen on the {self.split} images reported here, so a little too good"

    @property
    def edge(self) -> str:
        """A sentence for a best tau with nothing swept on one side of it."""
        if len(set(self.top1)) == 1 or self.tau not in (self.taus[0], self.taus[-1]):
            return ""
        side, more = ("largest", "larger") if self.tau == self.taus[-1] else ("smallest", "smaller")
        return f" It is the {side} tau swept, the edge of the sweep: give {more} ones with --tau to find the best."


def choice_on(curve: TradeOff, split: str, same_images: bool = True, why_here: str = "") -> Choice:
    """The tau that is best on a curve's images."""
    top1 = tuple(point.top1 for point in curve.points[overall_rule(curve.points)])
    return Choice(curve.best().tau, split, same_images, curve.taus, top1, why_here)


def told(
    trade_off: TradeOff, prior: Prior, split: str, validation: TradeOff | None = None, why_here: str = ""
) -> dict[str, Any]:
    """The key `trade_off` of evaluation.json, but for `sha256`."""
    choice = choice_on(validation, "val", False) if validation else choice_on(trade_off, split, why_here=why_here)
    more = {"prior_source": prior.source, "without_prior": int((prior.values == 0).sum())}
    return trade_off.as_json() | more | {"choice": asdict(choice)}


def trade_off_table(told: dict[str, Any]) -> Table:
    """One row a tau."""
    table = Table(title=f"Trade-off: logits - tau * log({told['prior']}), in percent")
    table.add_column("tau", justify="right")
    bounds = convention_of(told["groups"]).bounds
    for heading in ("top-1", *(f"{group}\n{bounds(group)}" for group in GROUPS), "harmonic", "ECE"):
        table.add_column(heading, justify="right")
    points = told["rules"][overall_rule(told["rules"])]
    for row, point in zip(told["rows"], points, strict=True):
        numbers = [row["top1"], *(row[group] for group in GROUPS), point["harmonic_top1"], point["ece"]]
        table.add_row(f"{row['tau']:g}", *("-" if number is None else f"{number:.2f}" for number in numbers))
    return table


def trade_off_notes(told: dict[str, Any]) -> list[str]:
    """What to know when reading it."""
    instead = " (--prior counts takes the training images of each class)" if told["prior"] == "draws" else ""
    found = [f"Prior: {told['prior_source']}{instead}."]
    if "mixture" in told["rules"]:
        found.append(
            "Each branch's logits are adjusted before its softmax; top-1, harmonic mean and ECE are of the mixture, "
            "the groups of the sum of logits, as in the host's log. evaluation.json has all numbers of both."
        )
    if told["without_prior"]:
        found.append(f"{told['without_prior']} classes with prior 0 are adjusted as the rarest class that has more.")
    choice = Choice(**told["choice"])
    found.append(f"Best top-1 at tau {choice.tau:g}, {choice.words}.{choice.edge}")
    if choice.tau and "mixture" not in told["rules"]:
        found.append(f"At test time: vlltr_plugin.LogitAdjustment({told['prior']}, tau={choice.tau:g}).")
    if choice.why_here:
        found.append(f"No validation split to choose tau on: {choice.why_here}")
    return found
