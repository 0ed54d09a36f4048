"""One consistent evaluation: every accuracy from the same predictions. Numbers only.

`evaluation.json` holds, all accuracies and calibration errors in percent and unrounded:

- `format` (`FORMAT`), `plugin_version`, `host` (its name), `checkpoint` (`file`, `sha256`, `epoch`), `config`
  (`file`, `sha256`), `data_set`, `split`, `labels_sha256` (of the labels as int64, in order: equal in two evaluations
  of the same images), `images` (evaluated), `split_images` (in the split), `limit`, `classes`, `not_finite` (images
  with a logit that is not finite), `settings`, `differs_from_training`: what the host's args were here and in the
  checkpoint where they differ.
- `groups`: for each convention (`upstream`, `others`, and `MANY,FEW` of `--groups`; see core/shot_groups.py) and
  group `classes` and `images`; `upstream` also has `10-shot` and `5-shot`. Only classes with training images belong to
  a group; `untrained` has the others.
- `rules`: for each rule (those of `predictions.TWO_BRANCH_RULES`, or `single` alone)
  `top1`, `top5` over the images (micro), `macro_top1` the mean over the classes, `harmonic_top1` their harmonic mean
  (0 as soon as one class is at 0), `classes_at_0`, `worst_class` (`class`, `name`, `top1`), `cross_entropy` (mean over
  the images), `ece`, `reliability` (bins; confidence and accuracy from 0 to 1), `groups`: for each convention and group
  `micro` and `macro`, null where it is empty.
- `host_log`: the same numbers under the keys of the host's log (`acc1`, `many`, ...), each from the rule it uses;
  for a host with numbers of its own these (`overall`, `macro`, `harmonic`, `many`, `medium`, `few`).
- `trade_off`: the numbers at each tau of post-hoc logit adjustment; see trade_off.py.
- `run_settings`: of `evaluate --logits` beside a recorded run, the settings of that run.
- `logits` (`file`, `sha256`) and `notes` (what is odd about the file), of `evaluate --logits` alone: `checkpoint` and
  `config` then hold nulls.
- `confusion`: `rule`, `classes` (the 20 with the lowest accuracy), `names`, `counts` (rows: these classes; columns: the
  same classes as predictions, then all others), `most_taken_for` (`class`, `name`, `images`; null without an error).
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.core.shot_groups import OTHERS, UPSTREAM, Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.accuracy import (
    class_accuracies,
    expected_calibration_error,
    group_masks,
    harmonic_mean,
    overall_rule,
    reliability,
    shots_rule,
)
from vlltr_plugin.report.tradeoff.curve import DEFAULT_TAUS, TradeOff, TradeOffError, checked_taus, log_prior
from vlltr_plugin.report.tradeoff.predictions import BRANCHES, Predictions

FORMAT = "vlltr-plugin evaluation 1"
CONVENTIONS = (UPSTREAM, OTHERS)
WORST = 20
HOST_GROUPS = {"many": "many", "median": "medium", "low": "few", "10-shot": "10-shot", "5-shot": "5-shot"}
"""Key in the host's log to the group's name here."""

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


def evaluate_predictions(
    labels: Ints,
    by_rule: dict[str, Predictions],
    train_counts: Ints,
    names: list[str] | None = None,
    groups: Convention = UPSTREAM,
) -> dict[str, Any]:
    """Everything that the predictions say; the keys `groups`, `rules`, `host_log` and `confusion` of evaluation.json.

    Raises:
        MissingExtraError: torchmetrics is not installed.
        ReportError: without images.
    """
    if len(labels) == 0:
        raise ReportError("Expected at least one image to evaluate.")
    images = np.bincount(labels, minlength=len(train_counts))
    conventions = dict.fromkeys((*CONVENTIONS, groups))
    members = {convention.name: group_masks(train_counts, convention) for convention in conventions}
    rules = {rule: _rule(labels, predictions, images, members, names) for rule, predictions in by_rule.items()}
    untrained = train_counts == 0
    return {
        "groups": {
            convention: {name: _size(mask, images) for name, mask in masks.items()}
            for convention, masks in members.items()
        }
        | {"untrained": _size(untrained, images)},
        "rules": rules,
        "host_log": _host_log(rules),
        "confusion": _confusion(labels, by_rule, images, names),
    }


def _rule(
    labels: Ints, predictions: Predictions, images: Ints, members: dict[str, dict[str, Mask]], names: list[str] | None
) -> dict[str, Any]:
    hits = predictions.top1 == labels
    of_class = class_accuracies(labels, predictions.top1, len(images))
    tested = of_class[images > 0]
    worst = int(np.nanargmin(of_class))
    return {
        "top1": 100.0 * float(hits.mean()),
        "top5": 100.0 * float(predictions.in_top5.mean()),
        "macro_top1": float(tested.mean()),
        "harmonic_top1": harmonic_mean(tested),
        "classes_at_0": int((tested == 0).sum()),
        "worst_class": {"class": worst, "name": names[worst] if names else None, "top1": float(of_class[worst])},
        "cross_entropy": _finite(float(predictions.cross_entropy.mean())),
        "ece": 100.0 * expected_calibration_error(predictions.confidence, hits),
        "reliability": reliability(predictions.confidence, hits),
        "groups": {
            convention: {name: _group(mask, hits, labels, of_class) for name, mask in masks.items()}
            for convention, masks in members.items()
        },
    }


def _group(mask: Mask, hits: Mask, labels: Ints, of_class: NDArray[np.float64]) -> dict[str, float | None]:
    inside = mask[labels]
    if not inside.any():
        return {"micro": None, "macro": None}
    return {"micro": 100.0 * float(hits[inside].mean()), "macro": float(np.nanmean(of_class[mask]))}


def _size(mask: Mask, images: Ints) -> dict[str, int]:
    return {"classes": int(mask.sum()), "images": int(images[mask].sum())}


def _host_log(rules: dict[str, Any]) -> dict[str, float | None]:
    overall, shots = rules[overall_rule(rules)], rules[shots_rule(rules)]
    log = {"acc1": overall["top1"], "acc5": overall["top5"]}
    for number, branch in enumerate(BRANCHES):
        if branch in rules:
            log |= {f"acc{number}_1": rules[branch]["top1"], f"acc{number}_5": rules[branch]["top5"]}
    groups = shots["groups"][UPSTREAM.name]
    return log | {key: groups[name]["micro"] for key, name in HOST_GROUPS.items()}


def _confusion(labels: Ints, by_rule: dict[str, Predictions], images: Ints, names: list[str] | None) -> dict[str, Any]:
    rule = overall_rule(by_rule)
    predicted = by_rule[rule].top1
    accuracy = class_accuracies(labels, predicted, len(images))
    tested = np.flatnonzero(images > 0)
    worst = tested[np.argsort(accuracy[tested], kind="stable")][:WORST].tolist()
    rows = [np.bincount(predicted[labels == index], minlength=len(images)) for index in worst]
    counts = [[*row[worst].tolist(), int(row.sum() - row[worst].sum())] for row in rows]
    taken = [_most_taken_for(row, index, names) for row, index in zip(rows, worst, strict=True)]
    shown = [names[index] for index in worst] if names else None
    return {"rule": rule, "classes": worst, "names": shown, "counts": counts, "most_taken_for": taken}


def _most_taken_for(row: Ints, own: int, names: list[str] | None) -> dict[str, Any] | None:
    errors = row.copy()
    errors[own] = 0
    if not errors.any():
        return None
    other = int(errors.argmax())
    return {"class": other, "name": names[other] if names else None, "images": int(errors[other])}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


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
