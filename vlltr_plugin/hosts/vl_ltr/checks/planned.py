"""The run that is planned, as far as it has been built."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from vlltr_plugin.hosts.vl_ltr.plan import Plan
from vlltr_plugin.training.hook import Hook


@dataclass
class Planned:
    """What the looks hand on to each other.

    Attributes:
        checkout: the host's folder.
        modules: the host's modules.
        args: the host's arguments, config included.
        data_sets: by split, as far as they could be built.
        stage_one: parameters from the pre-training stage; empty where there are none to take.
        model: the host's model, on the device.
        parts: what the host's `main` gives to `attach`: model, criterion, dataset, sampler, mixup.
        plan: what `attach` will do; None where nothing is re-weighted, or that could not be found out.
        hook: what `attach` will give.
    """

    checkout: Path
    modules: dict[str, ModuleType]
    args: argparse.Namespace
    data_sets: dict[str, Any] = field(default_factory=dict)
    stage_one: dict[str, Tensor] = field(default_factory=dict)
    model: nn.Module | None = None
    parts: dict[str, Any] = field(default_factory=dict)
    plan: Plan | None = None
    hook: Hook | None = None

    @property
    def classes(self) -> int:
        """C, known once the training set has been built."""
        return int(self.args.nb_classes)

    @property
    def splits(self) -> list[str]:
        """The splits that the run will read."""
        return ["train", "val", "test"] if getattr(self.args, "test", False) else ["train", "val"]

    def file(self, name: str) -> Path:
        """A file that the host names relative to its own folder."""
        return self.checkout / name
