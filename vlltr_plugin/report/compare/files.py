"""A comparison as files: report.md, report.json (unrounded), report.csv (a row for each line of a log) and pictures."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vlltr_plugin import __version__
from vlltr_plugin.hosts.host import Metric, Reference
from vlltr_plugin.report.compare.comparison import COSTS, STAGES, Comparison, costs_of
from vlltr_plugin.report.compare.runs import Method, Run
from vlltr_plugin.report.compare.settings import reweight_of
from vlltr_plugin.report.compare.tables import notes_of, tables_of
from vlltr_plugin.report.labels import printable
from vlltr_plugin.runs.files import write_whole
from vlltr_plugin.runs.log import Line

CAPTIONS = {
    "groups.png": "Accuracy by group of classes; above the bars the difference to the baseline. On the bars of several "
    "seeds, one standard deviation up and down.",
    "accuracy.png": "Accuracy over the epochs. A single run has a marker at its best epoch; of several seeds, the line "
    "is the mean and the band one standard deviation.",
    "tradeoff.png": "Few- against many-shot accuracy of each method, mean over its seeds, as tau grows; the filled "
    "mark is tau 0, as trained.",
    "time.png": "Seconds of the training pass of each epoch, mean over the seeds.",
}


def write_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes all files of a report; each appears whole or not at all, and report.md last.

    Raises:
        OSError: a file cannot be written.
    """
    from vlltr_plugin.report.compare.pictures import draw_comparison
    from vlltr_plugin.report.pictures import MissingExtraError

    folder.mkdir(parents=True, exist_ok=True)
    missing = ""
    try:
        pictures = draw_comparison(comparison, folder)
    except MissingExtraError as error:
        pictures, missing = [], str(error)
    texts = {
        "report.json": json_text(comparison),
        "report.csv": csv_text(comparison),
        "report.md": markdown_text(comparison, [path.name for path in pictures], missing),
    }
    for name, text in texts.items():
        write_whole(folder / name, printable(text).encode("utf-8"))
    return [*pictures, *(folder / name for name in texts)]


def markdown_text(comparison: Comparison, pictures: Sequence[str], missing: str = "") -> str:
    """The report for people."""
    names = " and ".join([", ".join(method.name for method in comparison.methods[1:]), comparison.baseline_name])
    if comparison.baseline is None:
        names = f"{comparison.methods[0].name} and {comparison.baseline_name}"
    parts = [f"# Comparison of {names}", "", f"**{comparison.verdict}**", ""]
    parts += [sheet.markdown() for sheet in tables_of(comparison)]
    for name in pictures:
        parts += [f"![{CAPTIONS[name]}]({name})", "", CAPTIONS[name], ""]
    parts += [f"No pictures: {missing}", ""] if missing else []
    parts += ["## Notes", "", *(f"- {note}" for note in notes_of(comparison)), ""]
    if comparison.warnings:
        parts += ["## Warnings", "", *(f"- {warning}" for warning in comparison.warnings), ""]
    return "\n".join(parts)


def json_text(comparison: Comparison) -> str:
    """The report for programs: every number as it is in the logs; not-a-number and infinity as null."""
    reference = comparison.reference
    content = {
        "vlltr_plugin": __version__,
        "baseline": comparison.baseline_name,
        "comparable": comparison.verdict.comparable,
        "verdict": str(comparison.verdict),
        "differing_settings": {setting.name: list(setting.values) for setting in comparison.verdict.differing},
        "always_zero": [metric.name for metric in comparison.empty],
        "runs": [_method_of(comparison, method) for method in comparison.methods],
        "trade_off": None if comparison.trade_offs is None else comparison.trade_offs.as_json(),
        "reference": None if reference is None else _reference(reference),
        "notes": notes_of(comparison),
        "warnings": list(comparison.warnings),
    }
    return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def _reference(reference: Reference) -> dict[str, Any]:
    return {key: getattr(reference, key) for key in ("name", "settings", "results", "source")}


def csv_text(comparison: Comparison) -> str:
    """A row for each epoch and each final test, unrounded; published results last."""
    metrics = comparison.metrics
    columns = [metric.name for metric in metrics]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["run", "path", "split", "epoch", "is_best", "is_last", *columns, "pass_seconds", "reweight_seconds"]
    )
    split = comparison.host.words.epochs_on.split()[0]
    for method in comparison.methods:
        for run in method.runs:
            for epoch, line in run.log.epochs.items():
                marks = [int(epoch == run.best_epoch), int(epoch == run.last_epoch)]
                seconds = run.stdout.epoch_seconds.get(epoch, "") if run.stdout else ""
                times = [seconds, line.get(run.host.reweight_seconds, "")]
                writer.writerow([method.name, run.path, split, epoch, *marks, *_cells(line, metrics), *times])
            if run.log.test is not None:
                writer.writerow(
                    [method.name, run.path, comparison.split, "", "", "", *_cells(run.log.test, metrics), "", ""]
                )
    for name, results in comparison.reference.results.items() if comparison.reference else ():
        writer.writerow([name, "", "test", "", "", "", *(results.get(column, "") for column in columns), "", ""])
    return buffer.getvalue()


def _cells(line: Line, metrics: Sequence[Metric]) -> list[float | str]:
    return [line.get(metric.key, "") for metric in metrics]


def _method_of(comparison: Comparison, method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "method": reweight_of(method),
        "seeds": [_run_of(run) for run in method.runs],
        **{stage: _stage(comparison, method, stage) for stage in STAGES},
        "times": {
            cost.name: {**asdict(time.summary), "percent": time.percent}
            for cost in COSTS
            if (time := comparison.times.get((method.name, cost.name))) is not None
        },
    }


def _run_of(run: Run) -> dict[str, Any]:
    """A training run: the lines of its log by the host's own keys, and its times in seconds."""
    return {
        "path": str(run.path),
        "settings_from": None if run.args_source is None else str(run.args_source),
        "best_epoch": run.best_epoch,
        "last_epoch": run.last_epoch,
        "epochs": list(run.log.epochs.values()),
        "test": run.log.test,
        "times": asdict(costs_of(run)),
        "pass_seconds": run.stdout.epoch_seconds if run.stdout else {},
    }


def _stage(comparison: Comparison, method: Method, stage: str) -> dict[str, Any]:
    numbers = {metric.name: _number(comparison, method, stage, metric) for metric in comparison.metrics}
    return {name: number for name, number in numbers.items() if number is not None}


def _number(comparison: Comparison, method: Method, stage: str, metric: Metric) -> dict[str, Any] | None:
    summary = comparison.summary(method.name, stage, metric)
    if summary is None:
        return None
    difference = comparison.difference(method.name, stage, metric)
    more = {} if difference is None else {"difference": difference.value, "difference_se": difference.se}
    return {**asdict(summary), **more}


def _finite(value: Any) -> Any:
    """JSON knows no infinity and no not-a-number."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
