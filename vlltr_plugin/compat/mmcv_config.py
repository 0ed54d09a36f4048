"""The part of mmcv 1.x that the host uses: python configs with inheritance, and reading JSON."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

_BASE, _DELETE = "_base_", "_delete_"


class ConfigDict(dict[str, Any]):
    """A dict whose keys can be read as attributes; dicts inside it come back as ConfigDicts then.

    Unlike in mmcv, the stored values stay plain dicts, so that checkpoints which hold them load safely without us.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(f"config has no key {name!r}; it has {', '.join(self) or 'none'}") from None
        return ConfigDict(value) if type(value) is dict else value


class Config:
    """A config file, read as mmcv 1.x reads it.

    Example:
        >>> config = Config.fromfile("configs/finetune.py")  # doctest: +SKIP
        >>> config.cfg.epochs                                # doctest: +SKIP
        50

    Args:
        variables: The file's top-level variables, merged with those of its bases.
        filename: Where they come from.
    """

    def __init__(self, variables: dict[str, dict[str, Any]], filename: str) -> None:
        self._cfg_dict = ConfigDict(variables)  # the host reads it under this name
        self.filename = filename

    @classmethod
    def fromfile(cls, filename: str | os.PathLike[str]) -> "Config":
        """Reads a python config.

        `_base_` names a file, or a list of files, relative to the config; dicts are merged key by key with the base's,
        all other values replace it. A dict with `_delete_=True` replaces the base's instead.

        Args:
            filename: a `.py` file whose top-level variables are dicts.

        Raises:
            FileNotFoundError: The file or a base is missing.
            SyntaxError: A file is not valid Python.
            KeyError: Two bases define the same variable.
            TypeError: A top-level variable is not a dict, or a dict meets a non-dict of its base.
            ValueError: The file is not a `.py` file, or configs extend each other in a circle.
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
        # copy and pickle ask before there is a _cfg_dict
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
    variables = _run(path, wanted_by=seen[-1] if seen else None)
    bases = variables.pop(_BASE, [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        inherited = _read(path.parent / base, seen=(*seen, path.resolve()))
        twice = sorted(merged.keys() & inherited.keys())
        if twice:
            raise KeyError(f"The bases of {path} define {', '.join(twice)} more than once; keep each in one base.")
        merged.update(inherited)
    return _merge(variables, merged, path)


def _run(path: Path, wanted_by: Path | None) -> dict[str, Any]:
    """Returns the variables that one config file itself defines."""
    if path.suffix != ".py":
        raise ValueError(f"Expected a .py config but got {path}.")
    if not path.is_file():
        whose = f" (a `_base_` of {wanted_by})" if wanted_by else ""
        raise FileNotFoundError(
            f"There is no config {path}{whose}. A path in `_base_` is relative to the folder of its config."
        )
    try:
        code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    except SyntaxError as error:
        raise SyntaxError(f"The config {path} is not valid Python: line {error.lineno}: {error.msg}") from error
    variables: dict[str, Any] = {"__file__": str(path), "__name__": path.stem}
    exec(code, variables)
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith("__") and not isinstance(value, ModuleType | FunctionType)
    }


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
