"""The numbers of an evaluation, all computed from the same predictions; report/README.md lists the keys."""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.core.shot_groups import CONVENTIONS, UPSTREAM, Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.accuracy import (
    accuracies,
    class_accuracies,
    group_accuracies,
    group_masks,
    overall_rule,
    reliability,
    shots_rule,
)
from vlltr_plugin.report.tradeoff.curve import (
    DEFAULT_TAUS,
    TradeOff,
    TradeOffError,
    checked_taus,
    curve_of,
    until_it_falls,
)
from vlltr_plugin.report.tradeoff.predictions import PredictionCollector, Predictions
from vlltr_plugin.runs.files import printable

FORMAT = "vlltr-plugin evaluation 1"
WORST = 20
HOST_GROUPS = {"many": "many", "median": "medium", "low": "few", "10-shot": "10-shot", "5-shot": "5-shot"}
"""Key in the host's log to the group's name here."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Sweep:
    """The options of the trade-off curve; tau 0 (the model as trained) is always included."""

    taus: tuple[float, ...] = DEFAULT_TAUS
    prior: str | None = None  # "draws" or "counts"; None: the draws if they are known
    groups: Convention = UPSTREAM
    choose_tau: str | None = None  # on the "val" split, or "here"; None: on val if it is not the split evaluated

    def __post_init__(self) -> None:
        object.__setattr__(self, "taus", checked_taus([0.0, *self.taus]))

    @classmethod
    def from_options(cls, options: argparse.Namespace, groups: Convention | None = None) -> Sweep:
        """Reads the command-line options; `groups` are those of the run, if known."""
        taus = DEFAULT_TAUS if options.tau is None else tuple(options.tau)
        return cls(taus, options.prior, options.groups or groups or UPSTREAM, options.choose_tau)


@dataclass(frozen=True)
class Prior:
    """The prior in use, `[C]`."""

    name: str  # "draws" or "counts"
    values: Floats
    source: str

    @classmethod
    def choose(cls, wanted: str | None, counts: Ints, draws: Floats | None, draws_source: str) -> Prior:
        """The draws, or the counts on request or if draws are unknown. TradeOffError if unknown draws are requested."""
        if wanted == "draws" and draws is None:
            raise TradeOffError(
                "Expected the draws for --prior draws but they are not known: give them, or --prior counts."
            )
        if wanted == "counts" or draws is None:
            return cls("counts", counts.astype(np.float64), "training images of each class")
        return cls("draws", draws, f"expected draws of each class: {draws_source}")


@dataclass(frozen=True)
class Choice:
    """The tau with the highest overall top-1, and the images that it was chosen on."""

    tau: float
    split: str
    same_images: bool  # True if these are the evaluated images
    taus: tuple[float, ...]
    top1: tuple[float, ...]  # at each tau, in percent
    why_here: str = ""  # why there is no validation split, if one was needed

    @property
    def words(self) -> str:
        """The images that tau was chosen on, for a sentence."""
        if not self.same_images:
            return "chosen on the validation split"
        if self.split == "test":
            return "chosen on the test set itself, so slightly optimistic"
        return f"chosen on the {self.split} images reported here, so slightly optimistic"

    @property
    def edge(self) -> str:
        """A sentence for a best tau at the edge of the sweep; else empty."""
        if len(set(self.top1)) == 1 or self.tau not in (self.taus[0], self.taus[-1]):
            return ""
        side, more = ("largest", "larger") if self.tau == self.taus[-1] else ("smallest", "smaller")
        return f" It is the {side} tau swept, the edge of the sweep: give {more} ones with --tau to find the best."


def own_result(evaluation: dict[str, Any]) -> dict[str, float | None]:
    """The host's own result on these images, where its groups or means differ from ours; else empty."""
    numbers: dict[str, float | None] = evaluation["host_log"]
    return {} if "acc1" in numbers else numbers


def choice_on(curve: TradeOff, split: str, same_images: bool = True, why_here: str = "") -> Choice:
    """The best tau on a curve's images."""
    top1 = tuple(point.top1 for point in curve.points[overall_rule(curve.points)])
    return Choice(curve.best().tau, split, same_images, curve.taus, top1, why_here)


@dataclass(frozen=True)
class Evaluation:
    """An evaluation: the `content` of evaluation.json, and the data of its other files."""

    content: dict[str, Any]
    by_rule: dict[str, Predictions]
    names: list[str] | None  # of the classes
    curve: TradeOff


def make_evaluation(
    facts: dict[str, Any],
    images: PredictionCollector,
    validation: PredictionCollector | None,
    counts: Ints,
    names: list[str] | None,
    sweep: Sweep,
    prior: Prior,
    why_here: str = "",
    host_log: Callable[[Ints, Ints], dict[str, float | None]] | None = None,
) -> Evaluation:
    """Computes all numbers from predictions; `facts` are the entries of evaluation.json on their origin.

    `why_here` says why there is no validation split; `host_log` replaces the key of that name, from labels and
    predictions.
    """
    from vlltr_plugin import __version__

    labels, by_rule = images.labels(), images.predictions()
    names = names and [*map(printable, names)]
    both = [images] if validation is None else [images, validation]
    taus = until_it_falls(sweep.taus, both)
    curve, *of_validation = [curve_of(one, counts, prior.name, sweep.groups, taus) for one in both]
    content = {
        "format": FORMAT,
        "plugin_version": __version__,
        **facts,
        "labels_sha256": hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest(),
        "images": len(labels),
        "classes": len(counts),
        "not_finite": images.not_finite,
    } | evaluate_predictions(labels, by_rule, counts, names, sweep.groups)
    if host_log is not None:
        content["host_log"] = host_log(labels, by_rule[overall_rule(by_rule)].top1)
    if of_validation:
        choice = choice_on(of_validation[0], "val", same_images=False)
    else:
        choice = choice_on(curve, facts["split"], why_here=why_here)
    of_prior = {"prior_source": prior.source, "without_prior": int((prior.values == 0).sum())}
    content["trade_off"] = curve.as_json() | of_prior | {"choice": asdict(choice)}
    return Evaluation(content, by_rule, names, curve)


def evaluate_predictions(
    labels: Ints,
    by_rule: dict[str, Predictions],
    train_counts: Ints,
    names: list[str] | None = None,
    groups: Convention = UPSTREAM,
) -> dict[str, Any]:
    """The keys `groups`, `rules`, `host_log` and `confusion` of evaluation.json.

    Raises a ReportError without images, and a MissingExtraError without torchmetrics.
    """
    if len(labels) == 0:
        raise ReportError("Expected at least one image to evaluate.")
    images = np.bincount(labels, minlength=len(train_counts))
    conventions = dict.fromkeys((*CONVENTIONS, groups))
    members = {convention.name: group_masks(train_counts, convention, shots=True) for convention in conventions}
    rules = {rule: _rule(labels, predictions, images, members, names) for rule, predictions in by_rule.items()}

    def size(mask: Mask) -> dict[str, int]:
        return {"classes": int(mask.sum()), "images": int(images[mask].sum())}

    sizes = {name: {group: size(mask) for group, mask in masks.items()} for name, masks in members.items()}
    overall, shots = rules[overall_rule(rules)], rules[shots_rule(rules)]["groups"][UPSTREAM.name]
    host_log = {"acc1": overall["top1"], "acc5": overall["top5"]}
    for number, output in enumerate(outputs_of(rules)):
        host_log |= {f"acc{number}_{top}": rules[output][f"top{top}"] for top in (1, 5)}
    return {
        "groups": sizes | {"untrained": size(train_counts == 0)},
        "rules": rules,
        "host_log": host_log | {key: shots[name]["micro"] for key, name in HOST_GROUPS.items()},
        "confusion": _confusion(labels, by_rule, images, names),
    }


def _rule(
    labels: Ints, predictions: Predictions, images: Ints, members: dict[str, dict[str, Mask]], names: list[str] | None
) -> dict[str, Any]:
    hits = predictions.top1 == labels
    of_class = class_accuracies(labels, predictions.top1, len(images))
    worst = int(np.nanargmin(of_class))
    loss = float(predictions.cross_entropy.mean())
    by_group = {name: group_accuracies(labels, predictions.top1, m, len(images)) for name, m in members.items()}
    return {
        **accuracies(labels, predictions.top1, predictions.confidence, {}, len(images)),
        "top5": 100.0 * float(predictions.in_top5.mean()),
        "classes_at_0": int((of_class == 0).sum()),
        "worst_class": {"class": worst, "name": names[worst] if names else None, "top1": float(of_class[worst])},
        "cross_entropy": loss if math.isfinite(loss) else None,
        "reliability": reliability(predictions.confidence, hits),
        "groups": by_group,
    }


def outputs_of(rules: dict[str, Any]) -> list[str]:
    """The names of a model's two outputs; empty for a single output."""
    return [rule for rule in rules if rule not in ("mixture", "sum", "single")]


def _confusion(labels: Ints, by_rule: dict[str, Predictions], images: Ints, names: list[str] | None) -> dict[str, Any]:
    rule = overall_rule(by_rule)
    predicted = by_rule[rule].top1
    accuracy = class_accuracies(labels, predicted, len(images))
    tested = np.flatnonzero(images > 0)
    worst = tested[np.argsort(accuracy[tested], kind="stable")][:WORST].tolist()
    counts, taken = [], []
    for own in worst:
        row = np.bincount(predicted[labels == own], minlength=len(images))
        counts.append([*row[worst].tolist(), int(row.sum() - row[worst].sum())])
        row[own] = 0
        other = int(row.argmax())
        found = {"class": other, "name": names[other] if names else None, "images": int(row[other])}
        taken.append(found if row.any() else None)
    shown = [names[index] for index in worst] if names else None
    return {"rule": rule, "classes": worst, "names": shown, "counts": counts, "most_taken_for": taken}
