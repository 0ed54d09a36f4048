"""The `reweight` key of a config, checked and split into what the hook and what the weighting needs."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vlltr_plugin.core.arguments import check_choice, check_whole
from vlltr_plugin.core.registry import WEIGHTINGS, nearest, option_names
from vlltr_plugin.runs.log import KEY as KEY

SINGLE = "single"
SOURCES = ("stream", "clean_pass")
LOSS_WEIGHT, LOGIT_ADJUSTMENT = FORMS = ("loss_weight", "logit_adjustment")
OWN = ("branch", "source", "every", "form")
"""The keys that are not the weighting's."""


@dataclass(frozen=True)
class Settings:
    """What `reweight=dict(...)` in a config says.

    Attributes:
        type: name of the weighting in the registry.
        branch: whose logits feed the statistics: the name of one of the model's outputs, their `"sum"`, or `"each"`
            (own statistics and weights for each); `"single"` for a model with one output.
        source: `"stream"`: the training pass; `"clean_pass"`: one extra forward over the training images at
            the end of an epoch, unmixed, with the evaluation transform.
        every: epochs from one clean pass to the next.
        form: `"loss_weight"`: the weights multiply the losses (`ReweightedLoss`); `"logit_adjustment"`: their
            logarithm is taken off the logits that go into the loss (`LogitAdjustedLoss` at tau 1), from the first epoch
            on. What the host evaluates are its logits as they are, in either form.
        options: arguments of the weighting.
    """

    type: str
    branch: str
    source: str = "stream"
    every: int = 1
    form: str = LOSS_WEIGHT
    options: dict[str, Any] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """What has to agree on resume, beside the weighting's own settings."""
        return {name: getattr(self, name) for name in OWN}

    @property
    def adjusts(self) -> bool:
        """Whether logits are adjusted; with `type="none"` neither form changes anything."""
        return self.form == LOGIT_ADJUSTMENT and self.type != "none"


def asked(args: Any) -> Any:
    """The `reweight` key as plain values; None where it is missing, None or False: nothing is to be re-weighted."""
    reweight = plain(getattr(args, KEY, None))
    return None if reweight is False else reweight


def misspelling(args: Any) -> str | None:
    """A sentence about a dict under a name like `reweight` (`reweigth`, `re_weight`), where nothing is asked for.

    Only dicts: a host may have a flag `reweighting` or a file `weights` of its own.
    """
    names = {_letters(name): name for name, value in vars(args).items() if isinstance(value, Mapping)}
    near = difflib.get_close_matches(KEY, names, n=1, cutoff=0.75)
    if not near:
        return None
    return f"the config asks for no `{KEY}`, but has {names[near[0]]!r}: was that meant? Nothing is re-weighted."


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def parse(reweight: Any, branches: tuple[str, ...] = ()) -> Settings:
    """Reads the `reweight` key.

    Raises:
        ValueError: for an unknown key or value, naming the nearest that exists, and for a branch
            that the model lacks.
    """
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
    settings = Settings(
        type=name,
        branch=_branch(own.get("branch"), branches),
        source=own.get("source", "stream"),
        every=own.get("every", 1),
        form=own.get("form", LOSS_WEIGHT),
        options=given,
    )
    check_choice("reweight's source", settings.source, SOURCES)
    check_choice("reweight's form", settings.form, FORMS)
    check_whole("reweight's every", settings.every, least=1)
    if settings.source == "clean_pass" and not WEIGHTINGS[name].uses_logits:
        raise ValueError(f"Expected source='clean_pass' with a type that reads logits only but got type={name!r}.")
    if settings.every != 1 and settings.source != "clean_pass":
        raise ValueError("Expected every with source='clean_pass' only: the stream is read in each epoch.")
    return settings


def plain(value: Any) -> Any:
    """Copies nested dicts, lists and tuples of a config (of a library's own kind, say) as plain ones.

    The host stores its arguments in every checkpoint, and only plain values load safely there.
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _branch(branch: str | None, branches: tuple[str, ...]) -> str:
    if branch is None:
        return (*branches, SINGLE)[0]
    if not branches and branch != SINGLE:
        raise ValueError(
            f"Expected no branch for a model with a single output but got branch={branch!r}: take it out of reweight."
        )
    if branches:
        check_choice("reweight's branch", branch, branches)
    return branch
