"""Statistics from a clean pass: every training image once, unmixed, with the evaluation transform."""

import copy
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset, Subset

from vlltr_plugin.core.batch import widened
from vlltr_plugin.core.ranks import world_size
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.hosts.clean_pass import clean_outputs
from vlltr_plugin.hosts.vl_ltr.branches import IMAGE_TEXT, VISUAL
from vlltr_plugin.training.settings import SINGLE


class CleanPass:
    """A clean pass that is shared out over the ranks and bypasses DDP; ValueError without the host's transform."""

    def __init__(self, args: Any, model: nn.Module, dataset: Any) -> None:
        self._args = args
        self._model = model.module if isinstance(model, DistributedDataParallel) else model
        self._dataset = copy.copy(dataset)
        self._dataset.pipeline = _evaluation_transform(args, dataset)

    def run(self, observe: Callable[[Any, Tensor], None]) -> None:
        """Calls `observe(outputs, labels)` for each batch of this rank's share."""
        dataset: Dataset[Any] = self._dataset
        if world_size() > 1:
            dataset = Subset(dataset, range(torch.distributed.get_rank(), len(self._dataset), world_size()))
        for outputs, labels in clean_outputs(
            self._model,
            dataset,
            lambda: self._model,
            torch.device(self._args.device),
            amp=not getattr(self._args, "fp32_resume", False),
            batch_size=self._args.batch_size,
            num_workers=getattr(self._args, "num_workers", 0),
        ):
            observe(outputs, labels)


def _evaluation_transform(args: Any, dataset: Any) -> Any:
    try:
        build = importlib.import_module("datasets").build_transform
    except (ImportError, AttributeError) as error:
        raise ValueError(
            "Expected the host's datasets.build_transform(is_train, args) for source='clean_pass' but could not "
            f"import it ({error}): use source='stream'."
        ) from error
    if not hasattr(dataset, "pipeline"):
        raise ValueError("Expected the training set to hold its transform as `pipeline` for source='clean_pass'.")
    return build(False, args)


def observe_clean(weightings: dict[str, Weighting], outputs: Any, labels: Tensor) -> None:
    """Feeds each weighting its logits of a batch: those of a branch, or their sum."""
    by_name = {SINGLE: outputs} if isinstance(outputs, Tensor) else {VISUAL: outputs[0], IMAGE_TEXT: outputs[1]}
    for name, weighting in weightings.items():
        logits = sum(widened(tensor) for tensor in by_name.values()) if name == "sum" else by_name[name]
        weighting.observe(torch.as_tensor(logits), labels)
