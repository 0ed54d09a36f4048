"""Whether runs may be compared: what differs between their settings, and what forbids to set them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import Reference
from vlltr_plugin.report.compare.runs import Method, Run
from vlltr_plugin.runs.log import KEY

_SIZES = {"nb_classes": "classes", "training images": "training images"}
NOT_SET = "not set"
GROUPS_OF_CLASSES = "groups (many from, few up to)"


@dataclass(frozen=True)
class Setting:
    """A setting that differs.

    Attributes:
        name: the host's argument, or words.
        values: as text, for each method and then for the reference if there is one; "?" where unknown.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What can be said about comparability.

    Attributes:
        differing: settings that differ.
        unknown: names of methods whose settings are not known.
        checked: number of settings that were compared.
        settings_from: where they are read.
        only_known: what else may differ, where runs record a part of their settings only.
    """

    differing: tuple[Setting, ...]
    unknown: tuple[str, ...]
    checked: int
    settings_from: str = ""
    only_known: str = ""

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
        return f"Comparable: the same in all {self.checked} settings that matter{self.only_known}."


def compare_settings(methods: Sequence[Method], reference: Reference | None = None) -> Verdict:
    """Lists what differs.

    Raises:
        ReportError: the data sets differ, or, with the settings unknown, the sizes of the models.
    """
    refuse_different_data(methods, reference)
    left_out = {KEY, methods[0].host.groups_setting}
    names = {
        name for method in methods for run in method.runs for name in set(run.args) - run.host.irrelevant
    } - left_out
    if reference is not None:
        names |= set(reference.settings)
    host = methods[0].host
    in_order = sorted(names, key=lambda name: (host.first.index(name) if name in host.first else len(host.first), name))
    published = set() if reference is None else set(reference.settings)
    columns = {name: [_values(method, name, name in published) for method in methods] for name in in_order}
    columns[GROUPS_OF_CLASSES] = [_groups(method) for method in methods]
    columns["last epoch in the log"] = [_last_epochs(method) for method in methods]
    differing = []
    for name, values in columns.items():
        row = values if reference is None else [*values, _published(reference, name, set().union(*values))]
        if len(set().union(*row)) > 1:
            differing.append(Setting(name, tuple(" / ".join(sorted(value)) or "?" for value in row)))
    unknown = tuple(method.name for method in methods if None in {run.args_source for run in method.runs})
    return Verdict(tuple(differing), unknown, len(names), host.words.settings_from, host.words.only_known)


def refuse_different_data(methods: Sequence[Method], reference: Reference | None = None) -> None:
    """Raises `ReportError` where two runs, or a run and the reference, are not of one data set."""
    runs = [run for method in methods for run in method.runs]
    for run in runs[1:]:
        _refuse_pair(runs[0], run)
    for run in runs if reference is not None else ():
        assert reference is not None
        if run.args.get("data_set", reference.data_set) != reference.data_set:
            raise ReportError(
                f"{run.path} is of data set {run.args['data_set']}, but the reference {reference.name} "
                f"of {reference.data_set}: not comparable"
            )
        for name, size in reference.data.items():
            if run.args.get(name, size) != size:
                raise ReportError(
                    f"{run.path} is of a data set with {run.args[name]} {_SIZES[name]}, but the reference "
                    f"{reference.name} of one with {size}: not comparable"
                )


def reweight_of(method: Method) -> str:
    """The `reweight` setting in words: `"none"` for a baseline, `"?"` if unknown."""
    if None in {run.args_source for run in method.runs}:
        known = any(run.host.reweight_seconds in line for run in method.runs for line in run.log.epochs.values())
        return "re-weighted, settings unknown" if known else "?"
    return " / ".join(sorted({_in_words(run.args.get(KEY)) for run in method.runs}))


def _refuse_pair(one: Run, other: Run) -> None:
    if one.host is not other.host:
        raise ReportError(f"{other.path} is a run of {other.host.title}, but {one.path} of {one.host.title}")
    _refuse_other_images(one, other)
    known = set(one.args) & set(other.args)
    for key, words in (
        ("data_set", "data set"),
        ("nb_classes", "a data set with this many classes:"),
        ("class counts", "a training set with class counts"),
    ):
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


def _refuse_other_images(one: Run, other: Run) -> None:
    """Evaluations must be of the same images; beside a log's test only a whole test split may stand."""
    mine, others = one.evaluated, other.evaluated
    if mine and others and mine.labels != others.labels:
        raise ReportError(
            f"{other.path} was evaluated on {others.images} images of {others.split}, but {one.path} on other images "
            f"({mine.images} of {mine.split}): not comparable"
        )
    for run, beside in ((one, other), (other, one)):
        if run.evaluated and not beside.evaluated and (run.evaluated.limited or run.evaluated.split != "test"):
            part = "part of " if run.evaluated.limited else ""
            raise ReportError(
                f"{run.path} was evaluated on {part}the split {run.evaluated.split}, but {beside.path} is a log with "
                "the whole test split: not comparable"
            )


def _sizes(run: Run) -> set[float]:
    return {line[key] for line in run.log.epochs.values() if (key := run.host.parameters) is not None and key in line}


def _values(method: Method, name: str, published: bool) -> set[str]:
    """The values in the runs that tell; what a checkpoint does not hold, that run does not have.

    Nor does a run with settings have one that published results have: of other data, maybe.
    """
    values = {_shown(name, run.args) for run in method.runs if name in run.args}
    others = [run for run in method.runs if name not in run.args]
    return values | {NOT_SET for run in others if _tells(run, name) or (published and run.args_source is not None)}


def _tells(run: Run, name: str) -> bool:
    """Whether the run would have this setting among its own, were it set."""
    return run.args_whole and name not in run.host.unsaid


def _shown(name: str, args: dict[str, Any]) -> str:
    """A value as text; of a path only the last part, since the rest differs between machines."""
    value = args[name]
    if name.endswith("_path") and isinstance(value, str):
        return value.rstrip("/").rpartition("/")[2]
    return str(value)


def _groups(method: Method) -> set[str]:
    return {run.groups.numbers for run in method.runs if run.groups is not None}


def _last_epochs(method: Method) -> set[str]:
    return {str(run.last_epoch) for run in method.runs if run.last_epoch is not None}


def _published(reference: Reference, name: str, values: set[str]) -> set[str]:
    """The reference's value; where the host's model name holds its backbone, that name."""
    if name not in reference.settings:
        return set()
    published = str(reference.settings[name])
    if name == "model":
        return {value for value in values if published in value} or {published}
    return {published}


def _in_words(value: Any) -> str:
    if not isinstance(value, dict):
        return "none" if value is None else str(value)
    others = ", ".join(f"{key}={value[key]!r}" for key in value if key != "type")
    return str(value.get("type", "?")) + (f" ({others})" if others else "")
