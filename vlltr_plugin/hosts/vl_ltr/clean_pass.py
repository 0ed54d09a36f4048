"""Statistics from a clean pass: every training image once, unmixed, with the evaluation transform."""

import copy
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, Subset

from vlltr_plugin.core.ranks import world_size
from vlltr_plugin.training.preserve import preserve_rng_and_mode


class CleanPass:
    """One forward over the training images without gradients, shared out over the ranks.

    It leaves the training as it was: no random number of the training is used, each module goes back to
    the mode (train or eval) it was in, DDP is bypassed.

    Raises:
        ValueError: when the host's evaluation transform cannot be had.
    """

    def __init__(self, args: Any, model: nn.Module, dataset: Any) -> None:
        self._model = model.module if isinstance(model, DistributedDataParallel) else model
        self._device = torch.device(args.device)
        self._amp = self._device.type == "cuda" and not getattr(args, "fp32_resume", False)
        self._dataset = copy.copy(dataset)
        self._dataset.pipeline = _evaluation_transform(args, dataset)
        self._batch_size, self._workers = args.batch_size, getattr(args, "num_workers", 0)

    def run(self, observe: Callable[[Any, Tensor], None]) -> None:
        """Calls `observe(outputs, labels)` for each batch of this rank's share."""
        with preserve_rng_and_mode(self._model), torch.no_grad():
            for images, labels in self._batches():
                with torch.autocast(self._device.type, enabled=self._amp):
                    outputs = self._model(images.to(self._device, non_blocking=True))
                observe(outputs, labels.to(self._device, non_blocking=True))

    def _batches(self) -> DataLoader[Any]:
        dataset: Dataset[Any] = self._dataset
        if world_size() > 1:
            dataset = Subset(dataset, range(torch.distributed.get_rank(), len(self._dataset), world_size()))
        generator = torch.Generator().manual_seed(0)
        return DataLoader(dataset, batch_size=self._batch_size, num_workers=self._workers, generator=generator)


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
