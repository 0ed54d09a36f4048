"""Class-volume re-weighting (Zheng and Ng) for hosts such as VL-LTR and LIFT, and any PyTorch loop.

What is named here is imported when it is first used, so that `vlltr-plugin --help` needs no torch. It imports torch and
numpy only: `vlltr_plugin.compat` must come before torchvision and timm.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlltr_plugin.core.base_losses import BaseLoss, FocalLosses, LabelLosses
    from vlltr_plugin.core.class_volume import ClassVolume
    from vlltr_plugin.core.criterion import ReweightedLoss
    from vlltr_plugin.core.frequency import EffectiveNumber, InverseFrequency, InverseSqrtFrequency, Uniform
    from vlltr_plugin.core.logit_adjustment import LogitAdjustedLoss, LogitAdjustment
    from vlltr_plugin.core.registry import build_weighting, register_weighting
    from vlltr_plugin.core.weighting import Weighting
    from vlltr_plugin.hosts.vl_ltr.attach import attach
    from vlltr_plugin.training.recorder import RunRecorder

__version__ = "0.1.0"

__all__ = [
    "BaseLoss",
    "ClassVolume",
    "EffectiveNumber",
    "FocalLosses",
    "InverseFrequency",
    "InverseSqrtFrequency",
    "LabelLosses",
    "LogitAdjustedLoss",
    "LogitAdjustment",
    "ReweightedLoss",
    "RunRecorder",
    "Uniform",
    "Weighting",
    "attach",
    "build_weighting",
    "register_weighting",
]

_HOMES = {
    "BaseLoss": "vlltr_plugin.core.base_losses",
    "ClassVolume": "vlltr_plugin.core.class_volume",
    "EffectiveNumber": "vlltr_plugin.core.frequency",
    "FocalLosses": "vlltr_plugin.core.base_losses",
    "InverseFrequency": "vlltr_plugin.core.frequency",
    "InverseSqrtFrequency": "vlltr_plugin.core.frequency",
    "LabelLosses": "vlltr_plugin.core.base_losses",
    "LogitAdjustedLoss": "vlltr_plugin.core.logit_adjustment",
    "LogitAdjustment": "vlltr_plugin.core.logit_adjustment",
    "ReweightedLoss": "vlltr_plugin.core.criterion",
    "RunRecorder": "vlltr_plugin.training.recorder",
    "Uniform": "vlltr_plugin.core.frequency",
    "Weighting": "vlltr_plugin.core.weighting",
    "attach": "vlltr_plugin.hosts.vl_ltr.attach",
    "build_weighting": "vlltr_plugin.core.registry",
    "register_weighting": "vlltr_plugin.core.registry",
}

if not TYPE_CHECKING:

    def __getattr__(name):
        """A public name, from the module that defines it (PEP 562)."""
        if name in ("core", "hosts"):
            return import_module(f"{__name__}.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__():
        return sorted({*globals(), *_HOMES})
