"""Whether a host's function can be called as VL-LTR calls it, and what else it asks for."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn


def misfit(function: Callable[..., Any], *names: str) -> str | None:
    """Why `function` cannot be called with positional arguments of these names; None when it can."""
    called: Any = function.forward if isinstance(function, nn.Module) else function
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # of some builtins
        return None
    try:
        signature.bind(*names)
    except TypeError as error:
        return _more(signature, len(names)) or f"{error} (of {', '.join(names)})"
    return None


def _more(signature: inspect.Signature, given: int) -> str:
    """The parameters that would stay empty."""
    kinds, several = inspect.Parameter, (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [parameter for parameter in signature.parameters.values() if parameter.kind not in several]
    positional = [parameter for parameter in named if parameter.kind is not kinds.KEYWORD_ONLY]
    left = positional[given:] + [parameter for parameter in named if parameter.kind is kinds.KEYWORD_ONLY]
    empty = [f"`{parameter.name}`" for parameter in left if parameter.default is kinds.empty]
    return f"it also takes {' and '.join(empty)}" if empty else ""
