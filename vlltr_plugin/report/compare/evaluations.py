"""Reads `evaluation.json` (see report/README.md) as a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlltr_plugin.core.shot_groups import GROUPS, UPSTREAM, Convention, convention_of
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import get_host
from vlltr_plugin.hosts.host import Host, Metric, RunFiles
from vlltr_plugin.report.accuracy import group_accuracies, group_masks, overall_rule, shots_rule
from vlltr_plugin.report.evaluate.evaluation import FORMAT, HOST_GROUPS, Choice, own_result
from vlltr_plugin.report.evaluate.files import is_of_run, read_trade_off
from vlltr_plugin.report.tradeoff.curve import TradeOff, TradeOffError, regrouped
from vlltr_plugin.runs.log import Log

EVALUATED = (
    Metric("macro", "eval_macro_top1", "mean over classes"),
    Metric("harmonic", "eval_harmonic_top1", "harmonic mean"),
    Metric("ece", "eval_ece", "calibration error"),
)
"""Metrics of an evaluation that the host's log lacks, by the evaluation's key with the prefix `eval_`."""


@dataclass(frozen=True)
class Evaluated:
    """The data and model of an evaluation, and its trade-off curve."""

    host: str | None  # None for the logits of any model
    split: str
    images: int
    limited: bool  # True if only a part of the split was evaluated
    labels: str  # digest of the labels, equal for equal images
    epoch: int | None
    checkpoint: str | None  # name of the file; None for the logits of any model
    groups: Convention
    curve: TradeOff | None = None
    no_curve: str = ""  # why there is no curve
    choice: Choice | None = None


def read_evaluation(path: Path, groups: Convention | None, host: Host) -> tuple[RunFiles, Evaluated]:
    """The numbers and settings of an evaluation, and its data; `host` is used for the logits of any model.

    Its checkpoint adds settings, if it is still beside the evaluation's folder. ReportError for other files.
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
        overall = content["rules"][overall_rule(content["rules"])]
        line = host.evaluated_line(_host_numbers(content, evaluated, host))
        line |= {metric.key: overall[metric.key.removeprefix("eval_")] for metric in EVALUATED}
        line = {key: float(value) for key, value in line.items() if value is not None}  # groups without images
        settings = {**content.get("run_settings", {}), "nb_classes": content["classes"]}
        settings |= {"model": content["settings"]["model"]} if "model" in content["settings"] else {}
        settings |= {"data_set": content["data_set"]} if content["data_set"] else {}
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise ReportError(
            f"{path}: expected the keys of {FORMAT!r}, but {error} is missing or has a wrong value"
        ) from error
    recorded, beside = bool(content.get("run_settings")), path.resolve().parent.parent
    name, ours = evaluated.checkpoint, is_of_run(content["checkpoint"], beside)
    args, source, warnings = host.args_of_checkpoint(beside / name if name and ours else None)
    if not ours:
        file = content["checkpoint"]["file"]
        trained_on = "If it was trained on since, evaluate it again."
        warnings = [
            *warnings,
            f"{path} evaluates {file}, which is not of the run in {beside} as it is now. {trained_on}",
        ]
    source = source if args else path if recorded else None
    whole = recorded or args is not None
    return RunFiles(Log(path, {}, line, ()), settings | (args or {}), source, None, tuple(warnings), whole), evaluated


def _host_numbers(content: dict[str, Any], evaluated: Evaluated, host: Host) -> dict[str, float | None]:
    """The numbers that the host logs, with the groups in use, by its keys."""
    numbers, rules, own = dict(content["host_log"]), content["rules"], own_result(content)
    if host.class_means and not own:
        numbers |= {name: rules[overall_rule(rules)][f"{name}_top1"] for name in ("macro", "harmonic")}
    if evaluated.groups == (host.convention if own else UPSTREAM) and bool(own) == host.class_means:
        return numbers
    rule = shots_rule(rules)
    found = rules[rule]["groups"].get(evaluated.groups.name)
    curve = evaluated.curve
    if found is None and curve is not None:  # of thresholds that are given now, which need a curve
        masks, trained = group_masks(curve.counts, evaluated.groups), curve.taus.index(0.0)
        found = group_accuracies(curve.labels, curve.predictions[rule][trained], masks, len(curve.counts))
    kind = "macro" if host.class_means else "micro"
    numbers = {key: value for key, value in numbers.items() if key not in GROUPS}
    return numbers | {key: found[group][kind] for key, group in HOST_GROUPS.items() if group in GROUPS}


def _evaluated(path: Path, content: dict[str, Any], groups: Convention | None) -> Evaluated:
    """The data and model of an evaluation, and its curve, with the given groups or its own."""
    checkpoint, stored = content["checkpoint"], content["trade_off"]
    made_with = convention_of(stored["groups"])
    curve, choice, no_curve = None, None, ""
    try:
        curve = read_trade_off(path.parent, stored)
        choice = Choice(**stored["choice"])
    except TradeOffError as error:
        no_curve = str(error)
    if groups is not None and groups != made_with:
        if curve is None:
            raise ReportError(
                f"{path}: expected a trade-off curve, which the groups {groups.name} are made from: {no_curve}"
            )
        curve = regrouped(curve, groups)
    return Evaluated(
        host=content["host"],
        split=content["split"],
        images=int(content["images"]),
        limited=content["images"] != content["split_images"],
        labels=content["labels_sha256"],
        epoch=checkpoint["epoch"],
        checkpoint=checkpoint["file"] and Path(checkpoint["file"]).name,
        groups=groups or made_with,
        curve=curve,
        no_curve=no_curve,
        choice=choice,
    )
