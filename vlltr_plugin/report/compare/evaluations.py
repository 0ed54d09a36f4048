"""Reads an `evaluation.json` of `vlltr-plugin evaluate` as a run; README.md in report/ documents its keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlltr_plugin.core.shot_groups import GROUPS, UPSTREAM, Convention, convention_of
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import get_host
from vlltr_plugin.hosts.host import Host, RunFiles
from vlltr_plugin.report.accuracy import overall_rule
from vlltr_plugin.report.compare.runs import EVALUATED, Evaluated
from vlltr_plugin.report.evaluate.evaluation import FORMAT, HOST_GROUPS, Choice
from vlltr_plugin.report.evaluate.files import read_trade_off
from vlltr_plugin.report.tradeoff.curve import TradeOffError, regrouped
from vlltr_plugin.runs.log import Line, Log


def read_evaluation(path: Path, groups: Convention | None, host: Host) -> tuple[RunFiles, Evaluated]:
    """The numbers and settings of an evaluation, and what it was made on; `host` is that of logits of any model.

    Its checkpoint tells more settings, if it still lies beside the evaluation's folder.

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
        host = get_host(evaluated.host) if evaluated.host else host
        log = Log(path, {}, _line(content, host, evaluated), ())
        settings = {**content.get("run_settings", {}), "nb_classes": content["classes"]}
        settings |= {"model": content["settings"]["model"]} if "model" in content["settings"] else {}
        settings |= {"data_set": content["data_set"]} if content["data_set"] else {}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReportError(
            f"{path}: expected the keys of {FORMAT!r}, but {error} is missing or has a wrong value"
        ) from error
    recorded, beside = bool(content.get("run_settings")), path.resolve().parent.parent
    args, source, warnings = host.args_of_checkpoint(beside / evaluated.checkpoint if evaluated.checkpoint else None)
    source = source if args else path if recorded else None
    whole = recorded or args is not None
    return RunFiles(log, settings | (args or {}), source, None, tuple(warnings), whole), evaluated


def _evaluated(path: Path, content: dict[str, Any], groups: Convention | None) -> Evaluated:
    curve = _curve(path, content)
    made_with = convention_of(content["trade_off"]["groups"])
    if groups is not None and groups != made_with:
        if "curve" not in curve:
            raise ReportError(
                f"{path}: expected a trade-off curve, which the groups {groups.name} are made from: {curve['no_curve']}"
            )
        curve["curve"] = regrouped(curve["curve"], groups)
    checkpoint = content["checkpoint"]
    return Evaluated(
        host=content["host"],
        split=content["split"],
        images=int(content["images"]),
        limited=content["images"] != content["split_images"],
        labels=content["labels_sha256"],
        epoch=checkpoint["epoch"],
        checkpoint=checkpoint["file"] and Path(checkpoint["file"]).name,
        groups=groups or made_with,
        **curve,
    )


def _curve(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Of `Evaluated`: the curve and on what tau was chosen, or why there is none."""
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
    ours = {metric.key: overall[metric.key.removeprefix("eval_")] for metric in EVALUATED}
    line = host.evaluated_line(numbers) | ours
    return {key: float(value) for key, value in line.items() if value is not None}
