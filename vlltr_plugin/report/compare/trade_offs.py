"""Evaluations on the baseline's trade-off curve: the place of each run, as trained and at its chosen tau."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vlltr_plugin.core.shot_groups import GROUPS
from vlltr_plugin.report.compare.runs import Method
from vlltr_plugin.report.evaluate.evaluation import Choice, choice_on
from vlltr_plugin.report.frame import Frame, at_tau
from vlltr_plugin.report.tables import MISSING, Table, fixed
from vlltr_plugin.report.tradeoff.curve import COLUMNS, TradeOffError, best_tau, steps_of
from vlltr_plugin.report.tradeoff.place import Placement, Scores, placement

ABOUT = (
    "Trade-off curve: the baseline's accuracies after tau * log(prior) is subtracted from its trained logits. The last "
    "two columns are a run's accuracies minus the curve's at equal many-shot accuracy, with a 95 % interval for other "
    "test images of the same classes. With several seeds, the interval includes the scatter between trainings; with "
    "one it does not."
)


@dataclass(frozen=True)
class Placed:
    """A method at one tau: how tau was chosen (if it was), and the place on the baseline's curve (if there is one)."""

    method: str
    chosen: str
    numbers: dict[str, float | None]  # by `COLUMNS`, mean over the runs; None for groups without images
    placement: Placement | None
    edge: str = ""  # a sentence if the chosen tau is at the edge of the sweep


@dataclass(frozen=True)
class TradeOffs:
    """The trade-off curves of a comparison: each run as trained and at its chosen tau, and what is missing."""

    rows: tuple[Placed, ...]
    curves: tuple[tuple[str, list[tuple[float, float, float]]], ...]  # of each run tau, many- and few-shot accuracy
    missing: tuple[str, ...]

    @property
    def table(self) -> Table:
        """A row for each entry of `rows`."""
        header = ("", "tau", "overall", *GROUPS, "few-shot at\nequal many-shot", "overall at\nequal many-shot")
        rows = []
        for row in self.rows:
            gaps = (None, None) if row.placement is None else (row.placement.few, row.placement.overall)
            cells = [f"{row.numbers['tau']:g}", *(fixed(row.numbers[name]) for name in COLUMNS[1:])]
            rows.append((row.method, *cells, *(MISSING if gap is None else str(gap) for gap in gaps)))
        return Table("On the baseline's trade-off curve (%)", header, tuple(rows))

    @property
    def sentences(self) -> list[str]:
        """Sentences: the place of each run as trained, the chosen taus, and what is missing."""
        if not self.rows:
            return list(self.missing)
        placed = [str(row.placement) for row in self.rows if row.placement is not None and not row.chosen]
        chosen = [
            f"{row.method}: tau {row.numbers['tau']:g} {row.chosen}.{row.edge}" for row in self.rows if row.chosen
        ]
        return [*placed, ABOUT, *chosen, *self.missing]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = []
        for row in self.rows:
            place = row.placement
            shown = None if place is None else asdict(place) | {"verdict": place.verdict, "sentence": str(place)}
            rows.append({"run": row.method, "chosen": row.chosen or None, **row.numbers, "placement": shown})
        return {"rows": rows, "missing": list(self.missing)}


def trade_offs_of(methods: Sequence[Method], frame: Frame) -> TradeOffs:
    """Places evaluated runs on the first one's curve."""
    rows: list[Placed] = []
    steps, missing = [], []
    baseline: Scores | None = None
    for number, method in enumerate(methods):
        curves = [run.evaluated.curve for run in method.runs if run.evaluated and run.evaluated.curve]
        if len(curves) < len(method.runs):
            reasons = {run.evaluated.no_curve if run.evaluated else "not an evaluation" for run in method.runs} - {""}
            missing += [f"{method.name} has no trade-off curve: {reason}." for reason in sorted(reasons)]
            continue
        shared = [tau for tau in curves[0].taus if all(tau in curve.taus for curve in curves)]
        numbers = {tau: _numbers(frame, method, tau) for tau in shared}
        choice = _chosen(method, shared)
        taus = dict.fromkeys((0.0, choice.tau))
        places: dict[float, Placement] = {}
        try:
            scores = Scores(curves)
            if number == 0:
                baseline = scores
            elif baseline is not None:
                places = {one: placement(scores, baseline, one, (method.name, methods[0].name)) for one in taus}
        except TradeOffError as error:
            missing.append(f"{method.name} is not placed on a curve: {error}")
        rows.append(Placed(method.name, "", numbers[0.0], places.get(0.0)))
        if choice.tau:
            placed = numbers[choice.tau], places.get(choice.tau)
            rows.append(Placed(method.name, choice.words, *placed, choice.edge))
        steps.append((method.name, steps_of(list(numbers.values()))))
    return TradeOffs(tuple(rows), tuple(steps), tuple(missing))


def _chosen(method: Method, taus: Sequence[float]) -> Choice:
    """The tau with the highest mean overall top-1 of the runs, chosen on the validation split if all have one."""
    evaluated = [run.evaluated for run in method.runs if run.evaluated]
    choices = [one.choice for one in evaluated if one.choice is not None]
    if any(choice.same_images for choice in choices):
        choices = [choice_on(one.curve, one.split) for one in evaluated if one.curve is not None]
    top1 = [dict(zip(choice.taus, choice.top1, strict=True)) for choice in choices]
    means = tuple(statistics.fmean(one[tau] for one in top1) for tau in taus)
    return replace(choices[0], tau=best_tau(taus, means), taus=tuple(taus), top1=means)


def _numbers(frame: Frame, method: Method, tau: float) -> dict[str, float | None]:
    """The means of a method at one tau; None if a run lacks the number."""
    found = {name: frame.summary(method.name, at_tau(tau), name) for name in COLUMNS[1:]}
    means = {name: one.mean if one is not None and one.n == len(method.runs) else None for name, one in found.items()}
    return {"tau": tau, **means}
