"""A demonstration that needs no download, no GPU and no checkout; its stand-in checkout also serves the tests."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .run import run_demo
    from .standin_checkout import BASELINE, CLASS_VOLUME, make_standin, read_log, run_main

__all__ = ["BASELINE", "CLASS_VOLUME", "make_standin", "read_log", "run_demo", "run_main"]

if not TYPE_CHECKING:

    def __getattr__(name):
        """Imports a name of `__all__` at its first use (PEP 562), so `vlltr-plugin --help` needs no torch."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{'run' if name == 'run_demo' else 'standin_checkout'}", __name__), name)
