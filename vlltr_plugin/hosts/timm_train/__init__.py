"""timm's `train.py` (huggingface/pytorch-image-models) and scripts that keep its shape.

The inserted lines call `add_arguments(parser)` and `attach(...)`, whose hook ends the epochs. Without `--reweight`
they change nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlltr_plugin.hosts.timm_train.hook import add_arguments, attach

__all__ = ["add_arguments", "attach"]

if not TYPE_CHECKING:

    def __getattr__(name):
        """Imports a name of `__all__` at its first use (PEP 562), so reading a log needs no torch."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.hook"), name)
