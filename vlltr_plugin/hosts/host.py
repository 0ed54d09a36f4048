"""What the rest of the plug-in asks of a host; README.md here says how to add one."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlltr_plugin.check.results import CheckResult, Checks
from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.errors import ReportError
from vlltr_plugin.runs.log import Line, Log, StdoutLog

if TYPE_CHECKING:
    from vlltr_plugin.hosts.evaluation import EvaluateRequest, OpenTrained


CheckpointArgs = tuple[dict[str, Any] | None, Path | None, list[str]]


@dataclass(frozen=True)
class RunFiles:
    """What a run of a host left.

    Attributes:
        log: its results.
        args: the host's arguments, by name; empty if unknown. What tells data sets apart is called `data_set`,
            `nb_classes` and `data_path` for every host.
        args_source: the file that all of them come from; None if they are not all known.
        stdout: its printed times, if they were kept.
        warnings: what was left out or could not be read.
        args_whole: whether an argument that is not there is not set in that run.
    """

    log: Log
    args: dict[str, Any]
    args_source: Path | None
    stdout: StdoutLog | None
    warnings: tuple[str, ...]
    args_whole: bool = False


@dataclass(frozen=True)
class Metric:
    """One number of a line.

    Attributes:
        name: its name in our reports.
        key: its key in the lines that the host's reader gives.
        title: its name in words.
        percent: whether it is in percent; else it is a loss.
    """

    name: str
    key: str
    title: str
    percent: bool = True


@dataclass(frozen=True)
class Reference:
    """Published results of a host on one data set with one backbone, without and with class volume.

    Attributes:
        name: such as `imagenet_lt/r50`.
        baseline: which of the results is the one without.
        settings: `data_set` as the host names it, `model` (part of the host's model name), `epochs`.
        data: sizes of the data set, by the names of a run's settings: `nb_classes`, `training images`.
        results: for each of the two methods the test accuracy in percent (`overall`, `many`, `medium`, `few`), and
            `training_seconds`.
        source: where the numbers come from.
    """

    name: str
    baseline: str
    settings: dict[str, Any]
    results: dict[str, dict[str, float]]
    source: str
    data: Mapping[str, int] = field(default_factory=dict)

    @property
    def data_set(self) -> str:
        """The data set, as the host names it."""
        return str(self.settings["data_set"])


@dataclass(frozen=True)
class Words:
    """What reports say of a host's runs.

    Attributes:
        notes: what a reader of its numbers has to know.
        notes_with: the same by the name of a metric: said where a run has that metric.
        epochs_on: what the results of its epochs are on.
        times: where its times come from.
        no_times: what to do where there are none.
        empty_groups: of `{groups}` that are 0.0 in every line, where the host writes that for groups without images;
            nothing where 0.0 is an accuracy like any other.
        only_known: which settings may differ unseen, where a run records a part of them only.
        settings_from: where the settings of a run are read: "no ..." where they are unknown.
    """

    notes: tuple[str, ...]
    epochs_on: str
    times: str
    no_times: str
    settings_from: str
    empty_groups: str = ""
    only_known: str = ""
    notes_with: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckRequest:
    """What `vlltr-plugin check` is asked.

    Attributes:
        config: the host's config, None where none was given.
        checkout: the host's folder.
        device: where the run will be.
        host_args: arguments of the host's command line.
    """

    config: Path | None
    checkout: Path
    device: str
    host_args: tuple[str, ...]


@dataclass(frozen=True)
class Host:
    """A code base that the plug-in goes into.

    Attributes:
        name: as users write it, and as in its recipe in `patches/`.
        title: in words.
        wrote: whether a log, of which it gets the first bytes, is this host's.
        beside: name of a file beside its logs that tells whose they are; empty where there is none.
        find_log: the log of a run's folder; None if there is none.
        read_log: reads a log alone; raises ReportError where it cannot be used.
        read_run: reads a log and what lies beside it; raises ReportError where it cannot be used.
        check: looks at what a run needs, telling each line as it comes.
        overall: accuracy over all images.
        groups: accuracies of many-, medium- and few-shot classes, then those of parts of them.
        metrics: all numbers that are compared, in the order of the tables.
        convention: the thresholds of its groups.
        logs_groups: whether its log holds the accuracies of those groups; if not, an evaluation alone gives them.
        groups_setting: the setting that tells a run's own thresholds, where they are the user's; where a run does not
            tell, the groups in its log may be any, and those made by reports are of `convention`.
        reweight_seconds: key of the time that the end of an epoch took, in the lines that its reader gives.
        words: for reports.
        irrelevant: its arguments that say where or how often a run was made.
        unsaid: its arguments that a run may have without telling them.
        first: its arguments listed first where they differ.
        parameters: key of the number of trained parameters in a line.
        references: the published results that may stand beside its runs, by name.
        evaluated_line: the numbers of `host_log` in an evaluation as a line of its log.
        args_of_checkpoint: the arguments in a checkpoint, if there is one; its path; warnings where it is damaged.
        open_trained: opens a checkpoint with its model and data for an evaluation; None where that is not known.
        find_checkpoint: the checkpoint that a request names; raises FileNotFoundError without it or the config.
        class_names: names of C classes, looked for around a path; None if there are none.
    """

    name: str
    title: str
    wrote: Callable[[bytes], bool]
    find_log: Callable[[Path], Path | None]
    read_log: Callable[[Path], Log]
    read_run: Callable[[Path], RunFiles]
    check: Callable[[CheckRequest, Callable[[CheckResult], None]], Checks]
    overall: Metric
    groups: tuple[Metric, ...]
    metrics: tuple[Metric, ...]
    convention: Convention
    reweight_seconds: str
    words: Words
    beside: str = ""
    logs_groups: bool = True
    groups_setting: str = ""
    irrelevant: frozenset[str] = frozenset()
    unsaid: frozenset[str] = frozenset()
    first: tuple[str, ...] = ()
    parameters: str | None = None
    references: Callable[[], Mapping[str, Reference]] = field(default=dict)
    open_trained: OpenTrained | None = None
    find_checkpoint: Callable[[EvaluateRequest], Path] = lambda request: request.checkpoint
    class_names: Callable[[Path, int], list[str] | None] = lambda start, num_classes: None
    evaluated_line: Callable[[dict[str, float | None]], Line] = lambda numbers: {}
    args_of_checkpoint: Callable[[Path | None], CheckpointArgs] = lambda path: (None, None, [])


def split_host_args(text: str) -> list[str]:
    """The arguments in `--host-args`.

    Raises:
        ReportError: for a quote that does not end.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ReportError(f"Expected --host-args to be arguments as in a shell but got {text!r} ({error}).") from error


def device_or_default(device: str | None) -> str:
    """The device asked for; without one CUDA where there is some, else the CPU."""
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")
