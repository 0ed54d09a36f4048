"""OpenAI's `clip` package: the tokenizer, which is all the host takes from it."""

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from vlltr_plugin.compat.presence import is_there

__all__ = ["load_tokenizer", "supply_clip"]

_START, _END = "<|startoftext|>", "<|endoftext|>"  # OpenAI's names; open_clip has others for the same two ids


def supply_clip() -> None:
    """Offer `clip.simple_tokenizer.SimpleTokenizer` where there is no such module.

    "ModuleNotFoundError: No module named 'clip'": OpenAI never put it on PyPI. The package of that name there is
    another one, and stays in place. One that is there and does not import (for want of `ftfy`, say, or in older
    copies of setuptools' `pkg_resources`) is left alone: its own error says what is missing. One on a path that the
    checkout adds later takes the stand-in's place.
    """
    if is_there("clip.simple_tokenizer"):
        return
    tokenizer = _StandIn("clip.simple_tokenizer", "Stand-in by vlltr_plugin.compat for OpenAI's tokenizer.")
    tokenizer.__spec__ = ModuleSpec("clip.simple_tokenizer", None)
    package = _StandIn("clip", "Stand-in by vlltr_plugin.compat for OpenAI's clip: the tokenizer only.")
    package.__spec__ = ModuleSpec("clip", None, is_package=True)
    package.__path__ = []
    sys.modules["clip.simple_tokenizer"] = tokenizer
    vars(sys.modules.setdefault("clip", package))["simple_tokenizer"] = tokenizer


class _StandIn(ModuleType):
    """Gives way to a real module that came onto the path after it was made, once a name is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__") and _real_clip_came():
            return getattr(importlib.import_module(self.__name__), name)
        if name == "SimpleTokenizer" and self.__name__ == "clip.simple_tokenizer":
            return load_tokenizer
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def _real_clip_came() -> bool:
    """Whether OpenAI's package can be imported by now; it is in the stand-ins' place then."""
    names = [name for name in ("clip", "clip.simple_tokenizer") if isinstance(sys.modules.get(name), _StandIn)]
    stand_ins = {name: sys.modules.pop(name) for name in names}
    if is_there("clip.simple_tokenizer"):
        return True
    sys.modules.update(stand_ins)
    return False


def load_tokenizer(*args: Any, **kwargs: Any) -> Any:
    """Returns open_clip's tokenizer under OpenAI's names for the start and end tokens.

    The host reads `encoder["<|startoftext|>"]` and `encoder["<|endoftext|>"]` (KeyError in open_clip) and calls
    `encode(text)`; ids are those of OpenAI's tokenizer.

    Args:
        *args: As open_clip's `SimpleTokenizer`.
        **kwargs: Likewise.

    Returns:
        The tokenizer.

    Raises:
        ModuleNotFoundError: open_clip is not installed.
    """
    # Imported here because it takes seconds, and the host tokenizes once, then reads its cache.
    try:
        import regex
        from open_clip.tokenizer import SimpleTokenizer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"VL-LTR needs CLIP's tokenizer, but {error.name} is missing: pip install open_clip_torch",
            name=error.name,
        ) from error
    tokenizer = SimpleTokenizer(*args, **kwargs)
    for name, its_name in ((_START, "<start_of_text>"), (_END, "<end_of_text>")):
        number = tokenizer.encoder.pop(its_name)
        tokenizer.encoder[name] = number
        tokenizer.decoder[number] = name
        tokenizer.cache[name] = name
        pattern = tokenizer.pat.pattern.replace(its_name, regex.escape(name))
        tokenizer.pat = regex.compile(pattern, tokenizer.pat.flags)
    return tokenizer
