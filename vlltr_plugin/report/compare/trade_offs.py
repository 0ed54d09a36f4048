"""Evaluated runs beside the trade-off curve of their baseline."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vlltr_plugin.core.shot_groups import GROUPS
from vlltr_plugin.report.compare.evaluations import Evaluated
from vlltr_plugin.report.compare.runs import Method
from vlltr_plugin.report.evaluate.evaluation import choice_on
from vlltr_plugin.report.tables import MISSING, Table
from vlltr_plugin.report.tradeoff.curve import COLUMNS, TradeOff, TradeOffError, best_tau, steps_of
from vlltr_plugin.report.tradeoff.place import Gap, Placement, Scores, placement

ABOUT = (
    "Trade-off curve: the baseline's accuracies when tau * log(prior) is taken off its logits after training, at no "
    "cost. The last two columns are a run's accuracies minus the curve's at equal many-shot accuracy, with a 95 % "
    "interval for other test images of the same classes. Where a method has several seeds, the scatter of its "
    "trainings is in the interval; that of a single training is not."
)


@dataclass(frozen=True)
class Row:
    """A method at one tau, mean over its runs.

    Attributes:
        method: its name.
        chosen: how tau was chosen; empty at tau 0 where nothing was.
        numbers: by `COLUMNS`; None for groups without images.
        placement: beside the baseline's curve; None for the baseline, and where it cannot be placed.
    """

    method: str
    chosen: str
    numbers: dict[str, float | None]
    placement: Placement | None


@dataclass(frozen=True)
class TradeOffs:
    """What a comparison says of the curves.

    Attributes:
        rows: each run as it was trained, and at its chosen tau.
        curves: for each run with one, tau, many- and few-shot accuracy of its points.
        missing: why runs are not here, or not placed.
    """

    rows: tuple[Row, ...]
    curves: tuple[tuple[str, list[tuple[float, float, float]]], ...]
    missing: tuple[str, ...]

    @property
    def table(self) -> Table:
        """The table."""
        header = ("", "tau", "overall", *GROUPS, "few-shot at\nequal many-shot", "overall at\nequal many-shot")
        rows = []
        for row in self.rows:
            numbers = [row.numbers[name] for name in COLUMNS[1:]]
            gaps = (None, None) if row.placement is None else (row.placement.few, row.placement.overall)
            cells = [*(MISSING if number is None else f"{number:.2f}" for number in numbers), *map(_gap, gaps)]
            rows.append((row.method, f"{row.numbers['tau']:g}", *cells))
        return Table("On the baseline's trade-off curve (%)", header, tuple(rows))

    @property
    def sentences(self) -> list[str]:
        """Where each run lies as it was trained, what was chosen, what is missing."""
        if not self.rows:
            return list(self.missing)
        placed = [str(row.placement) for row in self.rows if row.placement is not None and not row.chosen]
        chosen = [f"{row.method}: tau {row.numbers['tau']:g} {row.chosen}." for row in self.rows if row.chosen]
        return [*placed, ABOUT, *chosen, *self.missing]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = []
        for row in self.rows:
            place = row.placement
            more = {} if place is None else asdict(place) | {"verdict": place.verdict, "sentence": str(place)}
            rows.append({"run": row.method, "chosen": row.chosen or None, **row.numbers, "placement": more or None})
        return {"rows": rows, "missing": list(self.missing)}


def trade_offs_of(methods: Sequence[Method], baseline: Method | None) -> TradeOffs | None:
    """Places evaluated runs on their baseline's curve."""
    evaluated = {method.name: [run.evaluated for run in method.runs] for method in methods}
    if baseline is None or not any(one for runs in evaluated.values() for one in runs):
        return None
    rows: list[Row] = []
    curves, missing = [], []
    scores: Scores | None = None
    for method in methods:
        found = [one for one in evaluated[method.name] if one is not None]
        own = [one.curve for one in found if one.curve is not None]
        if len(own) < len(method.runs):
            missing += [f"{method.name} has no trade-off curve: {reason}." for reason in _reasons(method)]
            continue
        shared = [tau for tau in own[0].taus if all(tau in curve.taus for curve in own)]
        tau, words = _chosen(found, own, shared)
        taus = [0.0] + [tau] * (tau != 0)
        placed: Sequence[Placement | None] = [None] * len(taus)
        try:
            here = Scores(own)
            if method is baseline:
                scores = here
            elif scores is not None:
                placed = [placement(here, scores, tau, (method.name, baseline.name)) for tau in taus]
        except TradeOffError as error:
            missing.append(f"{method.name} is not placed on a curve: {error}")
        numbers = [_means(own, tau) for tau in taus]
        rows += [
            Row(method.name, words if number["tau"] else "", number, place)
            for number, place in zip(numbers, placed, strict=True)
        ]
        curves.append((method.name, steps_of([_means(own, tau) for tau in shared])))
    return TradeOffs(tuple(rows), tuple(curves), tuple(missing))


def _chosen(evaluated: Sequence[Evaluated], curves: Sequence[TradeOff], taus: Sequence[float]) -> tuple[float, str]:
    """The tau with the highest overall top-1, mean over the runs; on a validation split where all have one."""
    choices = [one.choice for one in evaluated if one.choice is not None]
    if any(choice.same_images for choice in choices):
        choices = [choice_on(curve, one.split) for one, curve in zip(evaluated, curves, strict=True)]
    top1 = [dict(zip(choice.taus, choice.top1, strict=True)) for choice in choices]
    return best_tau(taus, [statistics.fmean(one[tau] for one in top1) for tau in taus]), choices[0].words


def _means(curves: Sequence[TradeOff], tau: float) -> dict[str, float | None]:
    rows = [row for curve in curves for row in curve.rows if row["tau"] == tau]
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    return {
        name: None if None in values else statistics.fmean(v for v in values if v is not None)
        for name, values in columns.items()
    }


def _reasons(method: Method) -> list[str]:
    return sorted(
        {"not an evaluation" if run.evaluated is None else run.evaluated.no_curve for run in method.runs} - {""}
    )


def _gap(gap: Gap | None) -> str:
    return MISSING if gap is None else str(gap)
