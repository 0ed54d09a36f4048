"""Stand-ins for modules and names that VL-LTR imports but that no longer exist: mmcv, clip, parts of timm and Pillow.

A module that exists but fails to import is not replaced, since a stand-in would hide its error.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from PIL import Image, ImageOps

_START, _END = "<|startoftext|>", "<|endoftext|>"  # OpenAI's names; open_clip has others for the same two ids
_AUGMENT = "timm.data.auto_augment"


def supply_mmcv() -> None:
    """Provides `mmcv.Config` and `mmcv.load` if mmcv 1.x is missing.

    "ModuleNotFoundError: No module named 'mmcv'"; or "AttributeError: module 'mmcv' has no attribute 'Config'" with
    mmcv 2.x, which moved both names to another package.
    """
    names = {"Config": Config, "load": load}
    mmcv = _imported("mmcv")
    for name, value in names.items():
        if mmcv is not None and not hasattr(mmcv, name):
            setattr(mmcv, name, value)
    _offer({"mmcv": names})


def supply_clip() -> None:
    """Provides `clip.simple_tokenizer.SimpleTokenizer`, the only part of OpenAI's `clip` that the host uses.

    "ModuleNotFoundError: No module named 'clip'": OpenAI never put it on PyPI. The package of that name there is
    another one, and stays in place.
    """
    name = "clip.simple_tokenizer"
    other = _imported("clip")
    _offer({"clip": {}, name: {"SimpleTokenizer": load_tokenizer}})
    if other is not None and not hasattr(other, "__path__"):  # not a package: Python would not search inside it
        tokenizer = sys.modules[name] = ModuleType(name)
        vars(tokenizer)["SimpleTokenizer"] = load_tokenizer
        vars(other)["simple_tokenizer"] = tokenizer


def _imported(name: str) -> ModuleType | None:
    """Imports a module; None if it is missing or fails to import (the host's own import then shows why)."""
    with contextlib.suppress(Exception):
        importlib.import_module(name)
    return sys.modules.get(name)


def _offer(modules: dict[str, dict[str, Any]]) -> None:
    """Registers stand-ins for modules with these names, once; existing modules take precedence."""
    if not any(isinstance(finder, _StandIns) and finder.modules.keys() == modules.keys() for finder in sys.meta_path):
        sys.meta_path.append(_StandIns(modules))


class _StandIns(MetaPathFinder, Loader):
    """The last import finder: creates a module from its names if no other finder has it."""

    def __init__(self, modules: dict[str, dict[str, Any]]) -> None:
        self.modules = modules

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        is_package = any(name.startswith(f"{fullname}.") for name in self.modules)
        return ModuleSpec(fullname, self, is_package=is_package) if fullname in self.modules else None

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = "Stand-in by vlltr_plugin.compat."
        vars(module).update(self.modules[module.__name__])


def load_tokenizer(*args: Any, **kwargs: Any) -> Any:
    """Returns open_clip's `SimpleTokenizer(*args, **kwargs)` with OpenAI's names for the start and end tokens.

    The host reads `encoder["<|startoftext|>"]` and `encoder["<|endoftext|>"]` (KeyError in open_clip) and calls
    `encode(text)`; ids are those of OpenAI's tokenizer.
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


def supply_timm_registry() -> None:
    """Provides `timm.models.registry` if timm no longer has it; `register_model` moved to `timm.models`.

    "ModuleNotFoundError: No module named 'timm.models.registry'".
    """
    try:
        names = "timm", "timm.models", "timm.models.registry"
        found = [importlib.util.find_spec(name) is not None for name in names]
    except Exception:  # timm fails to import: the host's own import shows why
        return
    if found == [True, True, False]:
        sys.modules["timm.models.registry"] = importlib.import_module("timm.models")


def accept_zero_bit_posterize() -> None:
    """Lets timm's RandAugment posterize to zero bits, as Pillow before 13 did: a black image.

    "ValueError: bits must be between or equal to 1 and 8": with the host's `rand-m9-mstd0.5-inc1` about one image in
    650 asks for it. Only timm's own operation is replaced, not Pillow's function.
    """
    try:
        ImageOps.posterize(Image.new("RGB", (1, 1)), 0)
    except ValueError:
        if augment := _imported(_AUGMENT):
            ours = {name for name, operation in augment.NAME_TO_OP.items() if operation is augment.posterize}
            augment.NAME_TO_OP.update(dict.fromkeys(ours, posterize_or_black))


def posterize_or_black(img: Image.Image, bits_to_keep: int, **kwargs: Any) -> Any:
    """Timm's `posterize`, and a black image for zero bits."""
    # Defined at module level, so that data loaders with spawned workers can pickle transforms that hold it.
    if bits_to_keep < 1:
        return Image.new(img.mode, img.size)
    return importlib.import_module(_AUGMENT).posterize(img, bits_to_keep, **kwargs)


_BASE, _DELETE = "_base_", "_delete_"


class ConfigDict(dict[str, Any]):
    """A dict whose keys can be read as attributes; nested dicts are returned as ConfigDicts.

    Unlike in mmcv, the stored values stay plain dicts, so that checkpoints which hold them load safely without us.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(f"config has no key {name!r}; it has {', '.join(self) or 'none'}") from None
        return ConfigDict(value) if type(value) is dict else value


class Config:
    """A config file's top-level variables, merged with those of its bases, as mmcv 1.x reads them."""

    def __init__(self, variables: dict[str, dict[str, Any]], filename: str) -> None:
        self._cfg_dict = ConfigDict(variables)  # the host uses this name
        self.filename = filename

    @classmethod
    def fromfile(cls, filename: str | os.PathLike[str]) -> "Config":
        """Reads a python config, whose top-level variables must be dicts.

        `_base_` names a file, or a list of files, relative to the config; dicts are merged key by key with the base's,
        all other values replace it. A dict with `_delete_=True` replaces the base's instead.
        """
        path = Path(filename)
        variables = _read(path, seen=())
        for name, value in variables.items():
            if not isinstance(value, dict):
                raise TypeError(
                    f"Expected every top-level variable of {path} to be a dict, but `{name}` is {value!r}. "
                    f"Move it into one, as in cfg = dict({name}=...)."
                )
        return cls(variables, str(path))

    def __getattr__(self, name: str) -> Any:
        # copy and pickle look up attributes before _cfg_dict exists
        if name.startswith("__") or name == "_cfg_dict":
            raise AttributeError(name)
        return getattr(self._cfg_dict, name)

    def __getitem__(self, name: str) -> Any:
        return self._cfg_dict[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cfg_dict)

    def __len__(self) -> int:
        return len(self._cfg_dict)


def load(file: str | os.PathLike[str]) -> Any:
    """Reads a `.json` file; ValueError for a path with another ending."""
    if Path(file).suffix != ".json":
        raise ValueError(f"Expected a .json file but got {file}: vlltr_plugin's stand-in for mmcv reads nothing else.")
    return json.loads(Path(file).read_text(encoding="utf-8"))


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Returns the variables of a config, merged over those of its bases."""
    if path.resolve() in seen:
        raise ValueError(f"{path} extends itself through `_base_`: {' -> '.join(map(str, (*seen, path.resolve())))}")
    if path.suffix != ".py":
        raise ValueError(f"Expected a .py config but got {path}.")
    if not path.is_file():
        whose = f" (a `_base_` of {seen[-1]})" if seen else ""
        raise FileNotFoundError(
            f"There is no config {path}{whose}. A path in `_base_` is relative to the folder of its config."
        )
    try:
        code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    except SyntaxError as error:
        raise SyntaxError(f"The config {path} is not valid Python: line {error.lineno}: {error.msg}") from error
    space: dict[str, Any] = {"__file__": str(path), "__name__": path.stem}
    exec(code, space)
    bases = space.pop(_BASE, [])
    variables = {
        name: value
        for name, value in space.items()
        if not name.startswith("__") and not isinstance(value, ModuleType | FunctionType)
    }
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        inherited = _read(path.parent / base, seen=(*seen, path.resolve()))
        twice = sorted(merged.keys() & inherited.keys())
        if twice:
            raise KeyError(f"The bases of {path} define {', '.join(twice)} more than once; keep each in one base.")
        merged.update(inherited)
    return _merge(variables, merged, path)


def _merge(child: dict[str, Any], base: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns `base` with `child`'s values over it, dict by dict."""
    merged = dict(base)
    for name, value in child.items():
        if isinstance(value, dict):
            value = dict(value)
            replace = value.pop(_DELETE, False) or name not in base
            if not replace and not isinstance(base[name], dict):
                raise TypeError(
                    f"{path} gives `{name}` as a dict, but its base gives {base[name]!r}. "
                    f"Write {name}=dict(_delete_=True, ...) to replace it."
                )
            value = _merge(value, {} if replace else base[name], path)
        merged[name] = value
    return merged
