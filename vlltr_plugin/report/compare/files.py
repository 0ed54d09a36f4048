"""A comparison as files: report.md, report.json (unrounded), report.csv (a row for each line of a log) and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vlltr_plugin import __version__
from vlltr_plugin.report.compare.comparison import COSTS, PUBLISHED, SECONDS, STAGES, Comparison, costs_of
from vlltr_plugin.report.compare.runs import Method
from vlltr_plugin.report.compare.settings import reweight_of
from vlltr_plugin.report.compare.tables import notes_of, tables_of
from vlltr_plugin.report.frame import Stage
from vlltr_plugin.report.tables import Table
from vlltr_plugin.runs.files import printable, write_whole

CAPTIONS = {
    "groups.png": "Accuracy by group of classes; above the bars the difference to the baseline. On the bars of several "
    "seeds, the 95 % interval of the mean (Student's t), cut at 0 and 100 %.",
    "accuracy.png": "Accuracy over the epochs. A single run has a marker at its best epoch; of several seeds, the line "
    "is the mean and the band its 95 % interval (Student's t), at the epochs that all of them have.",
    "tradeoff.png": "Few- against many-shot accuracy of each method, mean over its seeds, as tau grows; the filled "
    "mark is tau 0, as trained.",
    "time.png": "Seconds of the training pass of each epoch, mean over the seeds.",
}


def write_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes all files of a report; each appears whole or not at all, and report.md last."""
    from vlltr_plugin.report.compare.pictures import draw_comparison
    from vlltr_plugin.report.pictures import MissingExtraError

    folder.mkdir(parents=True, exist_ok=True)
    pictures, missing = [], ""
    try:
        pictures = draw_comparison(comparison, folder)
    except MissingExtraError as error:
        missing = str(error)
    texts = {"report.json": json_text(comparison), "report.csv": csv_text(comparison)}
    texts["report.md"] = markdown_text(comparison, [path.name for path in pictures], missing)
    for name, text in texts.items():
        write_whole(folder / name, printable(text).encode("utf-8"))
    return [*pictures, *(folder / name for name in texts)]


def markdown_text(comparison: Comparison, pictures: Sequence[str], missing: str) -> str:
    """The report as Markdown; `missing` says why there are no pictures."""
    first, *others = [method.name for method in comparison.methods]
    names = f"{', '.join(others) or first} and {comparison.baseline_name}"
    parts = [f"# Comparison of {' '.join(names.split())}", "", f"**{comparison.verdict}**", ""]
    parts += [table.markdown() for table in tables_of(comparison)]
    for name in pictures:
        parts += [f"![{CAPTIONS[name]}]({name})", "", CAPTIONS[name], ""]
    parts += [f"No pictures: {missing}", ""] if missing else []
    for title, lines in (("Notes", notes_of(comparison)), ("Warnings", comparison.warnings)):
        if lines:
            parts += [f"## {title}", "", *(f"- {line}" for line in lines), ""]
    return "\n".join(parts)


def json_text(comparison: Comparison) -> str:
    """The report as JSON, with every number as in the logs; NaN and infinity become null."""
    reference = comparison.reference
    content = {
        "vlltr_plugin": __version__,
        "baseline": comparison.baseline_name,
        "comparable": comparison.verdict.comparable,
        "verdict": str(comparison.verdict),
        "differing_settings": {setting.name: list(setting.values) for setting in comparison.verdict.differing},
        "always_zero": [metric.name for metric in comparison.empty],
        "runs": [_method(comparison, method) for method in comparison.methods],
        "trade_off": None if comparison.trade_offs is None else comparison.trade_offs.as_json(),
        "reference": reference and {key: getattr(reference, key) for key in ("name", "settings", "results", "source")},
        "notes": notes_of(comparison),
        "warnings": list(comparison.warnings),
    }
    return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def csv_text(comparison: Comparison) -> str:
    """A row for each epoch and each final test, unrounded; published results last."""
    columns = [*(metric.name for metric in comparison.metrics), *SECONDS]
    split = comparison.host.words.epochs_on.split()[0]
    rows: list[tuple[Any, ...]] = []

    def add(name: str, seed: int, stage: Stage, *start: Any) -> None:
        rows.append((name, *start, *(comparison.frame.value(name, seed, stage, column) for column in columns)))

    for method in comparison.methods:
        for seed, run in enumerate(method.runs):
            for epoch in run.log.epochs:
                marks = int(epoch == run.best_epoch), int(epoch == run.last_epoch)
                add(method.name, seed, epoch, run.path, split, epoch, *marks)
            if run.log.test is not None:
                add(method.name, seed, "test", run.path, comparison.split, "", "", "")
    for name in comparison.published:
        add(name, 0, PUBLISHED, "", "test", "", "", "")
    return Table("", ("run", "path", "split", "epoch", "is_best", "is_last", *columns), tuple(rows)).csv()


def _method(comparison: Comparison, method: Method) -> dict[str, Any]:
    """A method's seeds with the lines of their logs by the host's own keys, and its numbers by stage and metric."""
    seeds = [
        {
            "path": str(run.path),
            "settings_from": None if run.args_source is None else str(run.args_source),
            "best_epoch": run.best_epoch,
            "last_epoch": run.last_epoch,
            "epochs": list(run.log.epochs.values()),
            "test": run.log.test,
            "times": costs_of(run),
            "pass_seconds": run.stdout.epoch_seconds if run.stdout else {},
        }
        for run in method.runs
    ]
    stages: dict[str, dict[str, Any]] = {stage: {} for stage in STAGES}
    for stage, numbers in stages.items():
        for metric in comparison.metrics_at([stage]):
            summary = comparison.summary(method.name, stage, metric)
            difference = comparison.difference(method.name, stage, metric)
            if summary is not None:
                numbers[metric.name] = asdict(summary)
            if difference is not None:
                numbers[metric.name] |= {"difference": difference.value, "difference_se": difference.se}
    times = {cost: comparison.time(method.name, cost) for cost in COSTS}
    shown = {cost: {**asdict(time[0]), "percent": time[1]} for cost, time in times.items() if time is not None}
    return {"name": method.name, "method": reweight_of(method), "seeds": seeds, **stages, "times": shown}


def _finite(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON does not have, by None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
