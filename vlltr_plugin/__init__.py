"""Class-volume re-weighting (Zheng and Ng) for VL-LTR and any PyTorch loop.

Importing this package imports torch and numpy only: `vlltr_plugin.compat` must come before torchvision and timm.
"""

from vlltr_plugin.core.base_losses import BaseLoss, FocalLosses
from vlltr_plugin.core.class_volume import ClassVolume
from vlltr_plugin.core.frequency import EffectiveNumber, InverseFrequency, InverseSqrtFrequency, Uniform
from vlltr_plugin.core.logit_adjusted_loss import LogitAdjustedLoss
from vlltr_plugin.core.registry import build_weighting, register_weighting
from vlltr_plugin.core.reweighted_loss import ReweightedLoss
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.hosts.vl_ltr.attach import attach

__version__ = "0.1.0"

__all__ = [
    "BaseLoss",
    "ClassVolume",
    "EffectiveNumber",
    "FocalLosses",
    "InverseFrequency",
    "InverseSqrtFrequency",
    "LogitAdjustedLoss",
    "ReweightedLoss",
    "Uniform",
    "Weighting",
    "attach",
    "build_weighting",
    "register_weighting",
]
