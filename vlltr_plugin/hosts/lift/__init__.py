"""LIFT (Shi et al., ICML 2024), its predecessor PEL, its successor LIFT+ and their derivatives.

The inserted lines call `config_node()` in `utils/config.py`, and `attach(self)` and the hook's `end_epoch(epoch_idx)`
in `Trainer.train`. Without `reweight.type` they change nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlltr_plugin.hosts.lift.hook import attach
    from vlltr_plugin.hosts.lift.settings import config_node

__all__ = ["attach", "config_node"]

if not TYPE_CHECKING:

    def __getattr__(name):
        """Imports a name of `__all__` at its first use (PEP 562), so reading a log needs no torch."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{'hook' if name == 'attach' else 'settings'}"), name)
