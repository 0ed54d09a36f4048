"""One pass over LIFT's training images without gradients, in evaluation mode, as they are."""

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vlltr_plugin.hosts.lift.logits import logits_of
from vlltr_plugin.training.preserve import preserve_rng_and_mode

UNAUGMENTED = ("train_init_loader", "init_loader")
"""Loaders of the training images by which LIFT and LIFT+ initialise the classifier: resized and cropped only."""


class PlainPass:
    """Leaves the training as it was: no random number of it is used, each module goes back to the mode it was in."""

    def __init__(self, trainer: Any, num_classes: int) -> None:
        loaders = [getattr(trainer, name) for name in UNAUGMENTED if hasattr(trainer, name)]
        self._dataset = (loaders or [trainer.train_loader])[0].dataset
        self._trainer, self._num_classes = trainer, num_classes

    def run(self, observe: Callable[[Tensor, Tensor], None]) -> None:
        """Calls `observe(logits, labels)` for each batch."""
        loader = self._trainer.train_loader
        with torch.no_grad():
            for output, labels in self._outputs(loader.batch_size, loader.num_workers):
                observe(logits_of(output, self._num_classes), labels.to(self._trainer.device))

    def first_output(self) -> Any:
        """What the model returns for two images."""
        with contextlib.closing(self._outputs(2, 0)) as outputs:
            return next(outputs)[0]

    def _outputs(self, batch_size: int, num_workers: int) -> Generator[tuple[Any, Tensor], None, None]:
        trainer = self._trainer
        precision = getattr(trainer.cfg, "prec_train", getattr(trainer.cfg, "prec", None))  # LIFT+, LIFT
        amp = precision == "amp" and trainer.device.type == "cuda"
        generator = torch.Generator().manual_seed(0)
        loader = DataLoader(self._dataset, batch_size, num_workers=num_workers, generator=generator)
        with preserve_rng_and_mode(trainer.model):
            forward = forward_of(trainer)
            for images, labels, *_ in loader:
                with torch.autocast(trainer.device.type, enabled=amp):
                    output = forward(images.to(trainer.device))
                yield output, labels


def forward_of(trainer: Any) -> Callable[[Tensor], Any]:
    """The model as the training loop calls it."""
    if not hasattr(trainer, "generate_class_prompts"):
        model: Callable[[Tensor], Any] = trainer.model
        return model
    # LIFT+ gives its model the prompts of the classes, or a classifier.
    classes: dict[str, Any] = {"use_classifier": True}
    if not trainer.cfg.classifier:
        classes = {"text": trainer.generate_class_prompts(), "is_text_feature": False}
    return lambda images: trainer.model(image=images, **classes)
