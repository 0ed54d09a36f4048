"""The public names, each once: `vlltr_plugin.__all__`. Imports torch and numpy, never torchvision or timm."""

from vlltr_plugin.core.base_losses import BaseLoss as BaseLoss
from vlltr_plugin.core.base_losses import FocalLosses as FocalLosses
from vlltr_plugin.core.base_losses import LabelLosses as LabelLosses
from vlltr_plugin.core.class_volume import ClassVolume as ClassVolume
from vlltr_plugin.core.criterion import ReweightedLoss as ReweightedLoss
from vlltr_plugin.core.frequency import EffectiveNumber as EffectiveNumber
from vlltr_plugin.core.frequency import InverseFrequency as InverseFrequency
from vlltr_plugin.core.frequency import InverseSqrtFrequency as InverseSqrtFrequency
from vlltr_plugin.core.frequency import Uniform as Uniform
from vlltr_plugin.core.logit_adjustment import LogitAdjustedLoss as LogitAdjustedLoss
from vlltr_plugin.core.logit_adjustment import LogitAdjustment as LogitAdjustment
from vlltr_plugin.core.registry import build_weighting as build_weighting
from vlltr_plugin.core.registry import register_weighting as register_weighting
from vlltr_plugin.core.weighting import Weighting as Weighting
from vlltr_plugin.hosts.vl_ltr.attach import attach as attach
from vlltr_plugin.training.recorder import RunRecorder as RunRecorder
