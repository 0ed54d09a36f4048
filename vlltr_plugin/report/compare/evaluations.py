"""An `evaluation.json` of `vlltr-plugin evaluate` as a run that `compare` can show; evaluation.py has its keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlltr_plugin.core.shot_groups import GROUPS, UPSTREAM, Convention, convention_of
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts import default_host, get_host
from vlltr_plugin.hosts.host import Host
from vlltr_plugin.report.accuracy import overall_rule
from vlltr_plugin.report.evaluate.evaluation import FORMAT, HOST_GROUPS, Choice
from vlltr_plugin.report.evaluate.files import read_trade_off
from vlltr_plugin.report.tradeoff.curve import TradeOff, TradeOffError, regrouped
from vlltr_plugin.runs.log import Line, Log

NAME = "evaluation.json"
EXTRA = ("macro_top1", "harmonic_top1", "ece")
"""What an evaluation says of the overall rule beyond the host's log."""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation was made on.

    Attributes:
        host: name of the host whose model it is; None for the logits of any model.
        split: `"val"` or `"test"`.
        images: number of images.
        limited: whether these are only part of the split.
        labels: digest of the labels, equal for equal images.
        epoch: of the checkpoint; None if unknown.
        checkpoint: name of its file; None for the logits of any model.
        curve: its trade-off curve; None where there is none.
        no_curve: why.
        choice: on what tau was chosen.
        groups: thresholds of many, medium and few.
        of_recorded_run: whether it tells the settings of that run.
    """

    host: str | None
    split: str
    images: int
    limited: bool
    labels: str
    epoch: int | None
    checkpoint: str | None
    curve: TradeOff | None = None
    no_curve: str = ""
    choice: Choice | None = None
    groups: Convention = UPSTREAM
    of_recorded_run: bool = False


def read_evaluation(path: Path, host: Host, groups: Convention | None = None) -> tuple[Log, Evaluated, dict[str, Any]]:
    """Reads an evaluation.

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
        curve = _curve(path, content)
        made_with = convention_of(content.get("trade_off", {}).get("groups", UPSTREAM.name))
        if groups is not None and groups != made_with:
            curve |= _regrouped(path, curve, groups)
        groups = groups or made_with
        evaluated = Evaluated(
            host=content.get("host", default_host().name),
            groups=groups,
            of_recorded_run=bool(content.get("run_settings")),
            split=content["split"],
            images=int(content["images"]),
            limited=content["images"] != content["split_images"],
            labels=content["labels_sha256"],
            epoch=content["checkpoint"]["epoch"],
            checkpoint=content["checkpoint"]["file"] and Path(content["checkpoint"]["file"]).name,
            **curve,
        )
        model = {"model": content["settings"]["model"]} if "model" in content["settings"] else {}
        return (
            Log(path, {}, _line(content, get_host(evaluated.host) if evaluated.host else host, evaluated), ()),
            evaluated,
            {**content.get("run_settings", {}), **model, "nb_classes": content["classes"], **_data_set(content)},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReportError(f"{path}: expected the keys of {FORMAT!r}, but {error} is missing or odd") from error


def _curve(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    if "trade_off" not in content:
        return {"no_curve": f"{path} was made before there were any: evaluate again"}
    told = content["trade_off"]
    try:
        curve = read_trade_off(path.parent, told)
    except TradeOffError as error:
        return {"no_curve": str(error)}
    return {"curve": curve, "choice": Choice(**told["choice"])}


def _regrouped(path: Path, curve: dict[str, Any], groups: Convention) -> dict[str, Any]:
    if "curve" not in curve:
        raise ReportError(
            f"{path}: expected a trade-off curve, which the groups {groups.name} are made from: {curve['no_curve']}"
        )
    return {"curve": regrouped(curve["curve"], groups)}


def _line(content: dict[str, Any], host: Host, evaluated: Evaluated) -> Line:
    """The numbers by the keys of the host's log, and ours with `eval_` before them; groups without images are out."""
    numbers = dict(content["host_log"])
    if evaluated.groups != UPSTREAM and evaluated.curve is not None:
        trained = evaluated.curve.rows[evaluated.curve.taus.index(0.0)]
        key_of = {group: key for key, group in HOST_GROUPS.items()}
        numbers |= {key_of[group]: trained[group] for group in GROUPS}
    line = host.evaluated_line(numbers)
    overall = content["rules"][overall_rule(content["rules"])]
    ours = {f"eval_{key}": overall[key] for key in EXTRA}
    return {key: float(value) for key, value in (line | ours).items() if value is not None}


def _data_set(content: dict[str, Any]) -> dict[str, str]:
    return {"data_set": content["data_set"]} if content["data_set"] else {}
