"""One pass over a host's training images in evaluation mode without gradients; restores random state and modes."""

from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vlltr_plugin.training.hook import preserve_rng_and_mode


def clean_outputs(
    model: nn.Module,
    dataset: Any,
    forward_of: Callable[[], Callable[[Tensor], Any]],
    device: torch.device,
    *,
    amp: bool,
    batch_size: int,
    num_workers: int,
) -> Generator[tuple[Any, Tensor], None, None]:
    """Yields for each batch the model's output, computed by the function that `forward_of` returns, and the labels."""
    loader = DataLoader(dataset, batch_size, num_workers=num_workers, generator=torch.Generator().manual_seed(0))
    with preserve_rng_and_mode(model), torch.no_grad():
        forward = forward_of()
        for images, labels, *_ in loader:
            with torch.autocast(device.type, enabled=amp and device.type == "cuda"):
                outputs = forward(images.to(device, non_blocking=True))
            yield outputs, labels.to(device, non_blocking=True)
