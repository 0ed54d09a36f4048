"""The `reweight` key of a config, checked and split; and a criterion described in the words of a config."""

import difflib
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from vlltr_plugin.core.arguments import check_choice, check_whole
from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.frequency import Uniform
from vlltr_plugin.core.logit_adjustment import LogitAdjustedLoss
from vlltr_plugin.core.registry import WEIGHTINGS, nearest, option_names
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.runs.files import class_summary
from vlltr_plugin.runs.log import KEY as KEY

SINGLE, SUM = "single", "sum"
SOURCES = ("stream", "clean_pass")
LOSS_WEIGHT, LOGIT_ADJUSTMENT = FORMS = ("loss_weight", "logit_adjustment")
OWN = ("branch", "source", "every", "form")  # the keys that are not the weighting's
ELSEWHERE = ("type", "num_classes", "class_counts")  # settings of a weighting; a description has them under other names


@dataclass(frozen=True)
class Settings:
    """The checked contents of `reweight=dict(...)` in a config."""

    type: str
    """Name of the weighting in the registry."""
    branch: str
    """Logits that feed the statistics: an output's name, the outputs' `"sum"`, `"each"` separately, or `"single"`."""
    source: str = "stream"
    """`"stream"` (the training pass), or `"clean_pass"` (over unaugmented training images, after the epoch)."""
    every: int = 1
    """Number of epochs between clean passes."""
    form: str = LOSS_WEIGHT
    """Weights multiply the losses (`ReweightedLoss`), or are margins, log alpha (`LogitAdjustedLoss`)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the weighting."""

    def state(self) -> dict[str, Any]:
        """Settings that must agree on resume, besides the weighting's own."""
        return {name: getattr(self, name) for name in OWN}

    @property
    def adjusts(self) -> bool:
        """True if logits are adjusted; with `type="none"` neither form has an effect."""
        return self.form == LOGIT_ADJUSTMENT and self.type != "none"


def reweight_setting(args: Any) -> Any:
    """The `reweight` key as plain values; None (no re-weighting) if it is missing, None or False."""
    reweight = plain_values(getattr(args, KEY, None))
    return None if reweight is False else reweight


def misspelling(args: Any) -> str | None:
    """A warning about a dict under a name like `reweight` (`reweigth`, `re_weight`), in a config without that key."""
    # Only dicts: the host itself may have a flag `reweighting` or a file `weights`.
    dicts = [name for name, value in vars(args).items() if isinstance(value, Mapping)]
    names = {"".join(filter(str.isalnum, name)).lower(): name for name in dicts}
    near = difflib.get_close_matches(KEY, names, n=1, cutoff=0.75)
    if not near:
        return None
    return f"the config asks for no `{KEY}`, but has {names[near[0]]!r}: was that meant? Nothing is re-weighted."


def parse(reweight: Any, branches: tuple[str, ...] = ()) -> Settings:
    """Reads the `reweight` key; ValueError for an unknown key or value, with the nearest known name."""
    if not isinstance(reweight, dict) or "type" not in reweight:
        raise ValueError(
            f'Expected reweight=dict(type="class_volume", ...) in the config but got {reweight!r}: '
            f"give a type, one of {', '.join(WEIGHTINGS)}; None or no `reweight` at all re-weights nothing."
        )
    given = dict(reweight)
    name = given.pop("type")
    if name not in WEIGHTINGS:
        raise ValueError(f"Expected a known type in reweight but got {name!r}{nearest(name, WEIGHTINGS)}")
    own = {key: given.pop(key) for key in OWN if key in given}
    known = [*option_names(WEIGHTINGS[name]), *OWN]
    for key in given:
        if key not in known:
            raise ValueError(f"Expected known keys in reweight but got {key!r}{nearest(key, known)}")
    branch = own.pop("branch", None)
    if branch is None:
        branch = (*branches, SINGLE)[0]
    if not branches and branch != SINGLE:
        raise ValueError(
            f"Expected no branch for a model with a single output but got branch={branch!r}: take it out of reweight."
        )
    if branches:
        check_choice("reweight's branch", branch, branches)
    settings = Settings(name, branch, options=given, **own)
    check_choice("reweight's source", settings.source, SOURCES)
    check_choice("reweight's form", settings.form, FORMS)
    check_whole("reweight's every", settings.every, least=1)
    if settings.source == "clean_pass" and not WEIGHTINGS[name].uses_logits:
        raise ValueError(f"Expected source='clean_pass' with a type that reads logits only but got type={name!r}.")
    if settings.every != 1 and settings.source != "clean_pass":
        raise ValueError("Expected every with source='clean_pass' only: the stream is read in each epoch.")
    return settings


def plain_values(value: Any) -> Any:
    """Copies nested dicts, lists and tuples of a config, including a library's subclasses, as plain ones."""
    # The host stores its arguments in every checkpoint, and only plain values load safely there.
    if isinstance(value, dict):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    return value


def describe_criterion(criterion: Criterion | None) -> dict[str, Any]:
    """Settings of a criterion; `reweight` holds those of its weighting that are not the default."""
    if criterion is None:
        return {KEY: "not the plug-in's"}
    weighting = criterion.weighting
    reweight = None if isinstance(weighting, Uniform) else _not_default(weighting)
    if reweight is not None and isinstance(criterion, LogitAdjustedLoss):
        reweight |= {"form": "logit_adjustment"} | ({} if criterion.tau == 1 else {"tau": criterion.tau})
    drawn, counts = (n / n.sum() for n in (weighting.draws, weighting.class_counts))
    as_counts = torch.allclose(drawn, counts)
    return {
        "nb_classes": weighting.num_classes,
        "training images": round(float(weighting.class_counts.sum())),
        "class counts": class_summary([round(n) for n in weighting.class_counts.tolist()]),
        "draws": "as class_counts" if as_counts else "given",
        **({} if as_counts else {"draws of the classes": class_summary([f"{share:.4g}" for share in drawn.tolist()])}),
        "loss": getattr(criterion, "base_name", type(criterion).__name__),
        "smoothing": criterion.smoothing,
        KEY: reweight,
    }


def loss_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The described settings of the criterion that its weighting's saved state does not hold."""
    if KEY not in settings:
        return {}
    reweight = settings[KEY]
    of_loss = {name: settings[name] for name in ("loss", "smoothing") if name in settings}
    if isinstance(reweight, str):
        return of_loss | {KEY: reweight}
    form = {"form": "loss weights", "tau": 1.0, **(reweight or {})}
    return of_loss | {KEY: "the plug-in's", "form": form["form"], "tau": form["tau"]}


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describes the settings that differ, with both values; empty if none differs."""

    def as_text(value: Any) -> str:
        """Text that is equal for equal values, also for nan and for objects whose repr is a memory address."""
        return re.sub(r" at 0x[0-9a-fA-F]+", "", json.dumps(value, sort_keys=True))

    found = []
    for name in {**recorded, **now}:
        was, is_now = (as_text(settings[name]) if name in settings else "" for settings in (recorded, now))
        if was != is_now:
            found.append(f"{name} was {recorded.get(name, 'not set')} and is {now.get(name, 'not set')}")
    return ", ".join(found)


def _not_default(weighting: Weighting) -> dict[str, Any]:
    """Settings of a weighting that differ from the defaults of its class and of its bases."""
    kind = type(weighting)
    makers = [cls.__init__ for cls in reversed(kind.__mro__) if issubclass(cls, Weighting) and "__init__" in vars(cls)]
    parameters = [p for maker in makers for p in inspect.signature(maker).parameters.values()]
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    name = next((name for name, known in WEIGHTINGS.items() if known is kind), kind.__name__)
    settings = {key: value for key, value in weighting.settings().items() if key not in ELSEWHERE}
    return {"type": name} | {key: value for key, value in settings.items() if defaults.get(key, ...) != value}
