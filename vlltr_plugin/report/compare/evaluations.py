"""An `evaluation.json` of `vlltr-plugin evaluate` as a run that `compare` can show; evaluation.py has its keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlltr_plugin.core.shot_groups import GROUPS, UPSTREAM, Convention, convention_of
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import default_host, get_host
from vlltr_plugin.hosts.host import Host, Metric
from vlltr_plugin.report.accuracy import overall_rule
from vlltr_plugin.report.evaluate.evaluation import FORMAT, HOST_GROUPS, Choice
from vlltr_plugin.report.evaluate.files import read_trade_off
from vlltr_plugin.report.tradeoff.curve import TradeOff, TradeOffError, regrouped
from vlltr_plugin.runs.log import Line, Log

NAME = "evaluation.json"
_OURS = "eval_"
EVALUATED = (
    Metric("macro", f"{_OURS}macro_top1", "mean over classes"),
    Metric("harmonic", f"{_OURS}harmonic_top1", "harmonic mean"),
    Metric("ece", f"{_OURS}ece", "calibration error"),
)
"""What an evaluation says of the overall prediction beyond the host's log; less is better for `ece`."""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation was made on, and its trade-off curve."""

    host: str | None  # None for the logits of any model
    split: str
    images: int
    limited: bool  # only a part of the split
    labels: str  # digest, equal for equal images
    epoch: int | None
    checkpoint: str | None  # name of the file; None for the logits of any model
    groups: Convention
    of_recorded_run: bool  # it has the settings of a recorded run
    curve: TradeOff | None = None
    no_curve: str = ""  # why there is none
    choice: Choice | None = None


def read_evaluation(path: Path, host: Host, groups: Convention | None = None) -> tuple[Log, Evaluated, dict[str, Any]]:
    """The numbers of an evaluation, what they were made on, and the settings that it names.

    Raises:
        ReportError: it is no evaluation of ours.
        OSError: it cannot be read.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: expected an evaluation of `vlltr-plugin evaluate`, but it is not JSON") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ReportError(f"{path}: expected the format {FORMAT!r}, but got {found!r}: evaluate again")
    try:
        evaluated = _evaluated(path, content, groups)
        line = _line(content, get_host(evaluated.host) if evaluated.host else host, evaluated)
        settings = {**content.get("run_settings", {}), "nb_classes": content["classes"]}
        settings |= {"model": content["settings"]["model"]} if "model" in content["settings"] else {}
        settings |= {"data_set": content["data_set"]} if content["data_set"] else {}
        return Log(path, {}, line, ()), evaluated, settings
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReportError(f"{path}: expected the keys of {FORMAT!r}, but {error} is missing or odd") from error


def _evaluated(path: Path, content: dict[str, Any], groups: Convention | None) -> Evaluated:
    curve = _curve(path, content)
    made_with = convention_of(content.get("trade_off", {}).get("groups", UPSTREAM.name))
    if groups is not None and groups != made_with:
        if "curve" not in curve:
            raise ReportError(
                f"{path}: expected a trade-off curve, which the groups {groups.name} are made from: {curve['no_curve']}"
            )
        curve["curve"] = regrouped(curve["curve"], groups)
    checkpoint = content["checkpoint"]
    return Evaluated(
        host=content.get("host", default_host().name),
        split=content["split"],
        images=int(content["images"]),
        limited=content["images"] != content["split_images"],
        labels=content["labels_sha256"],
        epoch=checkpoint["epoch"],
        checkpoint=checkpoint["file"] and Path(checkpoint["file"]).name,
        groups=groups or made_with,
        of_recorded_run=bool(content.get("run_settings")),
        **curve,
    )


def _curve(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Of `Evaluated`: the curve and on what tau was chosen, or why there is none."""
    if "trade_off" not in content:
        return {"no_curve": f"{path} was made before there were any: evaluate again"}
    stored = content["trade_off"]
    try:
        curve = read_trade_off(path.parent, stored)
    except TradeOffError as error:
        return {"no_curve": str(error)}
    return {"curve": curve, "choice": Choice(**stored["choice"])}


def _line(content: dict[str, Any], host: Host, evaluated: Evaluated) -> Line:
    """The numbers by the keys of the host's log and of `EVALUATED`; groups without images are left out."""
    numbers = dict(content["host_log"])
    if evaluated.groups != UPSTREAM and evaluated.curve is not None:
        trained = evaluated.curve.rows[evaluated.curve.taus.index(0.0)]
        key_of = {group: key for key, group in HOST_GROUPS.items()}
        numbers |= {key_of[group]: trained[group] for group in GROUPS}
    overall = content["rules"][overall_rule(content["rules"])]
    ours = {metric.key: overall[metric.key.removeprefix(_OURS)] for metric in EVALUATED}
    line = host.evaluated_line(numbers) | ours
    return {key: float(value) for key, value in line.items() if value is not None}
