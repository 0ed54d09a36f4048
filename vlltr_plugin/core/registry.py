"""Weightings by name; users can register their own."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from vlltr_plugin.core.arguments import Counts
from vlltr_plugin.core.class_volume import ClassVolume
from vlltr_plugin.core.frequency import EffectiveNumber, InverseFrequency, InverseSqrtFrequency, Uniform
from vlltr_plugin.core.weighting import Weighting

WEIGHTINGS: dict[str, type[Weighting]] = {
    "class_volume": ClassVolume,
    "effective_number": EffectiveNumber,
    "inverse": InverseFrequency,
    "inverse_sqrt": InverseSqrtFrequency,
    "none": Uniform,
}
W = TypeVar("W", bound=type[Weighting])


def register_weighting(name: str) -> Callable[[W], W]:
    """Class decorator: makes a `Weighting` available as `type=name` in a config.

    The class is called with `class_counts`, `draws=` and the other keys of the config.

    Raises:
        ValueError: for a name that is taken.
    """

    def register(weighting: W) -> W:
        if name in WEIGHTINGS:
            raise ValueError(f"Expected a new name but a weighting {name!r} exists: {WEIGHTINGS[name].__name__}.")
        WEIGHTINGS[name] = weighting
        return weighting

    return register


def build_weighting(name: str, class_counts: Counts, draws: Counts | None = None, **options: Any) -> Weighting:
    """The weighting of that name.

    Args:
        name: a key of `WEIGHTINGS`.
        class_counts: n_i, `[C]`.
        draws: m_i, `[C]`; default `class_counts`.
        options: the weighting's own arguments.

    Raises:
        ValueError: for an unknown name or option, naming the nearest that exists.
    """
    if name not in WEIGHTINGS:
        raise ValueError(f"Expected a known weighting but got type={name!r}{nearest(name, WEIGHTINGS)}")
    known = option_names(WEIGHTINGS[name])
    for key in options:
        if key not in known:
            raise ValueError(f"Expected options of {name!r} but got {key!r}{nearest(key, known)}")
    return WEIGHTINGS[name](class_counts, draws=draws, **options)


def option_names(weighting: type[Weighting]) -> list[str]:
    """Names of the arguments that a config may give, including arguments passed on to base classes."""
    names: list[str] = []
    for cls in weighting.__mro__:
        if "__init__" not in vars(cls) or not issubclass(cls, Weighting):
            continue
        parameters = inspect.signature(cls.__init__).parameters.values()
        names += [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return [name for name in dict.fromkeys(names) if name not in ("self", "class_counts", "draws")]


def nearest(name: str, known: Any) -> str:
    """End of an error message about an unknown name: the closest known name, or all names."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f": did you mean {close[0]!r}?" if close else f": choose one of {', '.join(known)}."
