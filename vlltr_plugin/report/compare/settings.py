"""Decides whether runs are comparable: which settings differ, and whether the data are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import Host, Reference, Words
from vlltr_plugin.report.compare.runs import Method, Run
from vlltr_plugin.runs.files import class_summary
from vlltr_plugin.runs.log import KEY

NOT_SET = "not set"
PATH = "_path"  # end of the names of settings that are paths
GROUPS_OF_CLASSES = "groups (many from, few up to)"
_SAME_DATA = {
    "data_set": "data set",
    "nb_classes": "a data set with this many classes:",
    "class counts": "a training set with class counts",
}
"""Settings that distinguish data sets, in words."""


class Setting(NamedTuple):
    """A setting that differs, with its value as text for each method (and the reference); "?" where unknown."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """Whether runs are comparable."""

    differing: tuple[Setting, ...]
    unknown: tuple[str, ...]  # methods with unknown settings
    checked: int  # number of settings that are known of all runs
    words: Words
    published: str = ""  # the reference, and the settings in which the runs were compared with it
    moved: tuple[str, ...] = ()  # settings whose paths differ, but not in their last part

    @property
    def comparable(self) -> bool | None:
        """False if a setting differs, None if that is unknown."""
        return False if self.differing else None if self.unknown or not (self.checked or self.published) else True

    def __str__(self) -> str:
        if self.differing:
            names = ", ".join(setting.name for setting in self.differing)
            return f"Not comparable: different settings ({names}); see the table."
        if self.unknown:
            return (
                f"Cannot tell whether these are comparable: the settings of {', '.join(self.unknown)} are unknown "
                f"(no {self.words.settings_from})."
            )
        if not self.comparable:
            return "Cannot tell whether these are comparable: no setting is known of all of them."
        same = f"the same in all {self.checked} settings that matter{self.words.only_known}" if self.checked else ""
        return f"Comparable: {'; '.join(filter(None, (same, self.published)))}."


def compare_settings(methods: Sequence[Method], reference: Reference | None = None) -> Verdict:
    """Lists the settings that differ; ReportError if the data sets (or, if unknown, the model sizes) differ."""
    _refuse_different_data(methods, reference)
    host = methods[0].host
    published = {} if reference is None else reference.settings
    names = {name for method in methods for run in method.runs for name in set(run.args) - host.irrelevant}
    names = (names - {KEY, host.groups_setting}) | set(published)
    rank = {name: number for number, name in enumerate(host.first)}
    rows = {
        name: [_values(method, name, name in published) for method in methods]
        for name in sorted(names, key=lambda name: (rank.get(name, len(rank)), name))
    }
    runs_of = [method.runs for method in methods]
    rows[GROUPS_OF_CLASSES] = [{run.groups.numbers for run in runs if run.groups is not None} for runs in runs_of]
    curves = [[run.evaluated.curve for run in runs if run.evaluated and run.evaluated.curve] for runs in runs_of]
    rows["class counts of the evaluation"] = [{class_summary(one.counts.tolist()) for one in each} for each in curves]
    rows["last epoch in the log"] = [{str(run.last_epoch) for run in runs if run.log.epochs} for runs in runs_of]
    if reference is not None:
        of_reference = {name: {str(value)} for name, value in published.items()}
        if any(metric.name in numbers for numbers in reference.results.values() for metric in host.groups):
            of_reference[GROUPS_OF_CLASSES] = {host.convention.numbers}
        for name, row in rows.items():
            known = of_reference.get(name, set())
            # The host's model name holds the published backbone.
            same = {value for value in set().union(*row) if name == "model" and any(one in value for one in known)}
            row.append(same or known)
    checked = sum(all(rows[name][: len(methods)]) for name in names)  # known of all methods
    differing = [
        Setting(name, tuple(" / ".join(sorted(values)) or "?" for values in row))
        for name, row in rows.items()
        if len(set().union(*row)) > 1
    ]
    recorded = [[run for run in method.runs if run.args_source is not None] for method in methods]
    if any(len({str(run.args.get(KEY)) for run in seeds}) > 1 for seeds in recorded):
        differing.append(Setting(KEY, tuple(map(reweight_of, methods))))
    unknown = [method.name for method in methods if None in {run.args_source for run in method.runs}]
    several = sum(len(method.runs) for method in methods) > 1
    with_it = f"the same as {reference.name} in what is published ({', '.join(published)})" if reference else ""
    runs = [run for method in methods for run in method.runs]
    paths = {name: {str(run.args[name]) for run in runs if name in run.args} for name in names if name.endswith(PATH)}
    moved = tuple(sorted(name for name, values in paths.items() if len(values) > len(set(map(_last_part, values)))))
    return Verdict(tuple(differing), tuple(unknown), checked if several else 0, host.words, with_it, moved)


def reweight_of(method: Method) -> str:
    """The `reweight` setting in words: `"none"` for a baseline, `"?"` if unknown."""
    if None in {run.args_source for run in method.runs}:
        known = any(run.host.reweight_seconds in line for run in method.runs for line in run.log.epochs.values())
        return "re-weighted, settings unknown" if known else "?"
    found = set()
    for value in [run.args.get(KEY) for run in method.runs]:
        if isinstance(value, dict):
            others = ", ".join(f"{key}={value[key]!r}" for key in value if key != "type")
            found.add(str(value.get("type", "?")) + (f" ({others})" if others else ""))
        else:
            found.add("none" if value is None else str(value))
    return " / ".join(sorted(found))


def early_start(host: Host, args: dict[str, Any], epochs: int) -> str:
    """Advice if weights (not margins) apply from the first or second of several epochs on; else empty."""
    reweight = args.get(KEY)
    if not isinstance(reweight, dict) or reweight.get("type") not in ("class_volume", "inverse"):
        return ""
    first = 1 if reweight["type"] == "class_volume" else 0  # class volume has no radii before the first epoch has ended
    given = reweight.get("start_epoch", first)
    form = reweight.get("form") or host.default_form(args)
    if epochs < 8 or not isinstance(given, int) or given > 1 or form != "loss_weight":
        return ""
    start = max(first, given)
    return (
        f"weights from epoch {start} on, of {epochs}. With start_epoch at half of the epochs, overall accuracy was "
        f"{1.4 if start else 1.9} points higher in the benchmark of README (CIFAR-100-LT, frozen features)."
    )


def _values(method: Method, name: str, published: bool) -> set[str]:
    """The values of a setting in the runs; `NOT_SET` for a run that would have recorded the setting.

    A setting of the published results counts as not set in every run whose settings are known.
    """
    found = set()
    for run in method.runs:
        if name in run.args:
            found.add(_as_text(name, run.args))
        elif (run.args_whole and name not in run.host.optional) or (published and run.args_source is not None):
            found.add(NOT_SET)
    return found


def _as_text(name: str, args: Mapping[str, Any]) -> str:
    """A value as text; for a path only its last part, since the rest differs between machines."""
    value = str(args[name])
    return _last_part(value) if name.endswith(PATH) else value


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _refuse_different_data(methods: Sequence[Method], reference: Reference | None) -> None:
    """Raises `ReportError` if two runs, or a run and the reference, have different data sets."""
    first, *others = [run for method in methods for run in method.runs]
    for other in others:
        if first.host is not other.host:
            raise ReportError(f"{other.path} is a run of {other.host.title}, but {first.path} of {first.host.title}")
        _refuse_other_images(first, other)
        named = "data_set" in first.args and "data_set" in other.args
        words = _SAME_DATA if named else _SAME_DATA | {"data_path": "the data in"}
        _refuse_other_data(other, words, str(first.path), first.args)
        if named or ("data_path" in first.args and "data_path" in other.args):
            continue
        # If no setting distinguishes the data sets, the number of trained parameters may.
        key, both = first.host.parameters, (first, other)
        ours, theirs = ({line[key] for line in run.log.epochs.values() if key in line} for run in both)
        if ours and theirs and ours.isdisjoint(theirs):
            raise ReportError(
                f"{other.path} trained {max(theirs):.0f} parameters, but {first.path} {max(ours):.0f}: another data "
                f"set or model; which of the two can be told only with a {first.host.words.settings_from}"
            )
    if reference is not None:
        published = {"data_set": reference.data_set, **reference.data}
        words = {name: _SAME_DATA.get(name, f"a data set with this many {name}:") for name in published}
        for run in (first, *others):
            _refuse_other_data(run, words, f"the reference {reference.name}", published)
            _refuse_part_of_the_test(run, f"the reference {reference.name} is of")


def _refuse_other_data(run: Run, words: Mapping[str, str], beside: str, settings: Mapping[str, Any]) -> None:
    for name in [name for name in words if name in run.args and name in settings]:
        mine, others = run.args[name], settings[name]
        if mine != others and _as_text(name, run.args) != _as_text(name, settings):
            raise ReportError(f"{run.path} is of {words[name]} {mine}, but {beside} of {others}: not comparable")


def _refuse_other_images(one: Run, other: Run) -> None:
    """Raises `ReportError` unless evaluations use the same images; with a log's test, the whole test split."""
    mine, others = one.evaluated, other.evaluated
    if mine and others and (mine.labels, mine.split) != (others.labels, others.split):
        raise ReportError(
            f"{other.path} was evaluated on {others.images} images of {others.split}, but {one.path} on other images "
            f"({mine.images} of {mine.split}): not comparable"
        )
    for run, beside in ((one, other), (other, one)):
        if not beside.evaluated:
            _refuse_part_of_the_test(run, f"{beside.path} is a log with")


def _refuse_part_of_the_test(run: Run, beside: str) -> None:
    """Raises `ReportError` for an evaluation of other images than the whole test split."""
    if run.evaluated and (run.evaluated.limited or run.evaluated.split != "test"):
        part = "part of " if run.evaluated.limited else ""
        raise ReportError(
            f"{run.path} was evaluated on {part}the split {run.evaluated.split}, but {beside} the whole test split: "
            "not comparable"
        )
