"""Whether runs may be compared: what differs between their settings, and what forbids to set them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import Reference
from vlltr_plugin.report.compare.runs import Run, Seed

METHOD = "reweight"
"""The argument that the comparison is about."""

NOT_SET = "not set"


@dataclass(frozen=True)
class Setting:
    """A setting that differs.

    Attributes:
        name: the host's argument, or words.
        values: as text, for each run and then for the reference if there is one; "?" where unknown.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What can be said about comparability.

    Attributes:
        differing: settings that differ.
        unknown: names of runs whose settings are not known.
        checked: number of settings that were compared.
        settings_from: where they are read.
    """

    differing: tuple[Setting, ...]
    unknown: tuple[str, ...]
    checked: int
    settings_from: str = ""

    @property
    def comparable(self) -> bool | None:
        """False where something differs, None where that cannot be told."""
        return False if self.differing else None if self.unknown else True

    def __str__(self) -> str:
        if self.differing:
            names = ", ".join(setting.name for setting in self.differing)
            return f"NOT comparable as they stand: {names} differ (see the table of settings)."
        if self.unknown:
            return (
                f"Cannot tell whether these are comparable: the settings of {', '.join(self.unknown)} are unknown "
                f"(no {self.settings_from})."
            )
        return f"Comparable: the same in all {self.checked} settings that matter."


def compare_settings(runs: Sequence[Run], reference: Reference | None = None) -> Verdict:
    """List what differs.

    Args:
        runs: the runs.
        reference: published results that stand beside them.

    Returns:
        The verdict.

    Raises:
        ReportError: the data sets differ, or, with the settings unknown, the sizes of the models.
    """
    refuse_different_data(runs, reference)
    names = {name for run in runs for seed in run.seeds for name in set(seed.args) - seed.host.irrelevant} - {METHOD}
    if reference is not None:
        names |= set(reference.settings)
    host = runs[0].seeds[0].host
    in_order = sorted(names, key=lambda name: (host.first.index(name) if name in host.first else len(host.first), name))
    columns = {name: [_values(run, name) for run in runs] for name in in_order}
    columns["last epoch in the log"] = [_last_epochs(run) for run in runs]
    differing = []
    for name, values in columns.items():
        row = values if reference is None else [*values, _published(reference, name, set().union(*values))]
        if len(set().union(*row)) > 1:
            differing.append(Setting(name, tuple(" / ".join(sorted(value)) or "?" for value in row)))
    unknown = tuple(run.name for run in runs if None in {seed.args_source for seed in run.seeds})
    return Verdict(tuple(differing), unknown, len(names), host.words.settings_from)


def refuse_different_data(runs: Sequence[Run], reference: Reference | None = None) -> None:
    """Raise `ReportError` where two runs, or a run and the reference, are not of one data set."""
    seeds = [seed for run in runs for seed in run.seeds]
    for seed in seeds[1:]:
        _refuse_pair(seeds[0], seed)
    for seed in seeds:
        if reference is not None and seed.args.get("data_set", reference.data_set) != reference.data_set:
            raise ReportError(
                f"{seed.path} is of data set {seed.args['data_set']}, but the reference {reference.name} "
                f"of {reference.data_set}: not comparable"
            )


def method_of(run: Run) -> str:
    """The `reweight` setting in words: `"none"` for a baseline, `"?"` if unknown."""
    if None in {seed.args_source for seed in run.seeds}:
        known = any(seed.host.reweight_seconds in line for seed in run.seeds for line in seed.log.epochs.values())
        return "re-weighted, settings unknown" if known else "?"
    return " / ".join(sorted({_method(seed.args.get(METHOD)) for seed in run.seeds}))


def _refuse_pair(one: Seed, other: Seed) -> None:
    if one.host is not other.host:
        raise ReportError(f"{other.path} is a run of {other.host.title}, but {one.path} of {one.host.title}")
    _refuse_other_images(one, other)
    known = set(one.args) & set(other.args)
    for key, words in (("data_set", "data set"), ("nb_classes", "a data set with this many classes:")):
        if key in known and one.args[key] != other.args[key]:
            raise ReportError(
                f"{other.path} is of {words} {other.args[key]}, but {one.path} of {one.args[key]}: not comparable"
            )
    if "data_set" in known:
        return
    if "data_path" in known:
        if _shown("data_path", one.args) != _shown("data_path", other.args):
            raise ReportError(
                f"{other.path} is of the data in {other.args['data_path']}, but {one.path} of those in "
                f"{one.args['data_path']}: not comparable"
            )
        return
    sizes, other_sizes = _sizes(one), _sizes(other)
    if sizes and other_sizes and sizes.isdisjoint(other_sizes):
        raise ReportError(
            f"{other.path} trained {max(other_sizes):.0f} parameters, but {one.path} {max(sizes):.0f}: another data "
            f"set or model; to tell which, there has to be a {one.host.words.settings_from}"
        )


def _refuse_other_images(one: Seed, other: Seed) -> None:
    """Evaluations must be of the same images; beside a log's test only a whole test split may stand."""
    mine, others = one.evaluated, other.evaluated
    if mine and others and mine.labels != others.labels:
        raise ReportError(
            f"{other.path} was evaluated on {others.images} images of {others.split}, but {one.path} on other images "
            f"({mine.images} of {mine.split}): not comparable"
        )
    for seed, beside in ((one, other), (other, one)):
        if seed.evaluated and not beside.evaluated and (seed.evaluated.limited or seed.evaluated.split != "test"):
            part = "part of " if seed.evaluated.limited else ""
            raise ReportError(
                f"{seed.path} was evaluated on {part}the split {seed.evaluated.split}, but {beside.path} is a log with "
                "the whole test split: not comparable"
            )


def _sizes(seed: Seed) -> set[float]:
    return {line[key] for line in seed.log.epochs.values() if (key := seed.host.parameters) is not None and key in line}


def _values(run: Run, name: str) -> set[str]:
    """The values in the seeds that tell; what a checkpoint does not hold, that run does not have."""
    values = {_shown(name, seed.args) for seed in run.seeds if name in seed.args}
    whole = [seed for seed in run.seeds if seed.args_whole]
    return values | {NOT_SET for seed in whole if name not in seed.args}


def _shown(name: str, args: dict[str, Any]) -> str:
    """A value as text; of a path only the last part, since the rest differs between machines."""
    value = args[name]
    if name.endswith("_path") and isinstance(value, str):
        return value.rstrip("/").rpartition("/")[2]
    return str(value)


def _last_epochs(run: Run) -> set[str]:
    return {str(seed.last_epoch) for seed in run.seeds if seed.last_epoch is not None}


def _published(reference: Reference, name: str, values: set[str]) -> set[str]:
    """The reference's value; where the host's model name holds its backbone, that name."""
    if name not in reference.settings:
        return set()
    published = str(reference.settings[name])
    if name == "model":
        return {value for value in values if published in value} or {published}
    return {published}


def _method(value: Any) -> str:
    if not isinstance(value, dict):
        return "none" if value is None else str(value)
    others = ", ".join(f"{key}={value[key]!r}" for key in value if key != "type")
    return str(value.get("type", "?")) + (f" ({others})" if others else "")
