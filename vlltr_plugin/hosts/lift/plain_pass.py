"""One pass over LIFT's training images without gradients, in evaluation mode, as they are."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vlltr_plugin.training.undisturbed import eval_mode, untouched_rng

UNAUGMENTED = ("train_init_loader", "init_loader")
"""Loaders of the training images by which LIFT and LIFT+ initialise the classifier: resized and cropped only."""


class PlainPass:
    """Leaves the training as it was: no random number of it is used, each module goes back to the mode it was in.

    Args:
        trainer: the host's. A trainer without one of the loaders above gives its training images augmented.
    """

    def __init__(self, trainer: Any) -> None:
        loaders = [getattr(trainer, name) for name in UNAUGMENTED if hasattr(trainer, name)]
        self._dataset = (loaders or [trainer.train_loader])[0].dataset
        self._trainer = trainer

    def run(self, observe: Callable[[Tensor, Tensor], None]) -> None:
        """Calls `observe(logits, labels)` for each batch."""
        trainer, train_loader = self._trainer, self._trainer.train_loader
        precision = getattr(trainer.cfg, "prec_train", getattr(trainer.cfg, "prec", None))  # LIFT+, LIFT
        amp = precision == "amp" and trainer.device.type == "cuda"
        loader = DataLoader(
            self._dataset,
            batch_size=train_loader.batch_size,
            num_workers=train_loader.num_workers,
            generator=torch.Generator().manual_seed(0),
        )
        with untouched_rng(), eval_mode(trainer.model), torch.no_grad():
            forward = forward_of(trainer)
            for images, labels, *_ in loader:
                with torch.autocast(trainer.device.type, enabled=amp):
                    logits = forward(images.to(trainer.device))
                observe(logits, labels.to(trainer.device))


def forward_of(trainer: Any) -> Callable[[Tensor], Tensor]:
    """The model as the training loop calls it."""
    if not hasattr(trainer, "generate_class_prompts"):
        model: Callable[[Tensor], Tensor] = trainer.model
        return model
    # LIFT+ gives its model the prompts of the classes, or a classifier.
    classes: dict[str, Any] = {"use_classifier": True}
    if not trainer.cfg.classifier:
        classes = {"text": trainer.generate_class_prompts(), "is_text_feature": False}
    return lambda images: trainer.model(image=images, **classes)
