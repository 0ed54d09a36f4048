"""Reads LIFT's trainer: class counts and expected draws, logits, one pass over its training images."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.hosts.clean_pass import clean_outputs
from vlltr_plugin.training.draws import class_counts_of, expected_draws
from vlltr_plugin.training.settings import KEY


def logits_of(output: Any, num_classes: int) -> Tensor:
    """Returns the logits in a model's output; ValueError if it holds none, or several different tensors."""
    tensors = list(_tensors(output))
    fits = [tensor for tensor in tensors if tensor.ndim == 2 and tensor.shape[1] == num_classes]
    found = {id(tensor): tensor for tensor in fits if torch.is_floating_point(tensor)}
    if len(found) != 1:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors) or "no tensor"
        raise ValueError(
            f"Expected the model to return one tensor of logits [B, {num_classes}] but got {len(found)} in a "
            f"{type(output).__name__} of {shapes}, so it is not known which of them to measure. Let it return the "
            "logits only, or use a reweight.type without radii (inverse, effective_number)."
        )
    return next(iter(found.values()))


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping | tuple | list):
        for part in output.values() if isinstance(output, Mapping) else output:
            yield from _tensors(part)


CAPPED = {"DownSampler": "cls_num_list", "ReSampler": "sampled_cls_num_list"}
"""Samplers that draw a class once per image but at most n_max times, and the attribute that holds n_max.
DownSampler draws that many images in an epoch; ReSampler draws as many as there are images, in the same proportions."""

BALANCED = "ClassAwareSampler"
"""This sampler cycles over the classes, so each is drawn equally often."""


def number_of_classes(trainer: Any) -> int:
    """C, the number of the classifier's outputs; the host's own `num_classes` does not count classes without images."""
    return max(len(getattr(trainer, "classnames", ())), int(trainer.num_classes))


def labels_of(trainer: Any) -> Any:
    """The label of each training image; ValueError if the training set does not hold them."""
    dataset = trainer.train_loader.dataset
    if not hasattr(dataset, "labels"):
        raise ValueError(
            f"Expected the training set to hold one label an image as `labels`, as LIFT's do, but "
            f"{type(dataset).__name__} does not: the classes cannot be counted."
        )
    return dataset.labels


def class_counts(trainer: Any) -> Tensor:
    """Training images of each class, int64 `[C]`."""
    return class_counts_of(labels_of(trainer), number_of_classes(trainer))


def draws_of(trainer: Any) -> Tensor:
    """Expected draws m_i of each class in an epoch, up to a common factor; ValueError if the sampler's are unknown."""
    loader, counts = trainer.train_loader, class_counts(trainer).double()
    sampler = loader.sampler
    if type(loader.batch_sampler) is not torch.utils.data.BatchSampler:
        raise ValueError(
            "Expected a training loader that draws image by image but it has a batch_sampler of its own "
            f"({type(loader.batch_sampler).__name__}), whose draws are not known: use a sampler."
        )
    name = type(sampler).__name__
    if name == BALANCED:
        return (counts > 0).double()
    if name not in CAPPED:
        return expected_draws(sampler, labels_of(trainer), len(counts))
    capped = torch.as_tensor(getattr(sampler, CAPPED[name], []), dtype=torch.float64)
    if capped.shape != counts.shape or bool((capped > counts).any()):
        raise ValueError(
            f"Expected {name} to hold its draws of each of the {len(counts)} classes as `{CAPPED[name]}`, as LIFT's "
            "does, but it does not: its draws are not known. Use plain shuffling."
        )
    return capped


UNAUGMENTED = ("train_init_loader", "init_loader")
"""Loaders that LIFT and LIFT+ initialise the classifier from: training images that are only resized and cropped."""


def clean_pass(trainer: Any, observe: Callable[[Tensor, Tensor], None]) -> None:
    """Calls `observe(logits, labels)` for each batch of the training images, as they are."""
    loader, classes = trainer.train_loader, number_of_classes(trainer)
    for output, labels in _clean_outputs(trainer, loader.batch_size, loader.num_workers):
        observe(logits_of(output, classes), labels)


def check_output(trainer: Any) -> None:
    """ValueError unless the model, called with two images, returns one tensor that can be the logits.

    Needed only if radii are measured from the model's output; in streaming they come from the criterion's input.
    """
    try:
        with contextlib.closing(_clean_outputs(trainer, 2, 0)) as outputs:
            output = next(outputs)[0]
    except Exception as error:
        raise ValueError(
            f"Expected a model that can be called with images alone, for {KEY}.source clean_pass and "
            f"{KEY}.measure_first, but it fails ({error}): leave both out."
        ) from error
    logits_of(output, number_of_classes(trainer))


def _clean_outputs(trainer: Any, batch_size: int, num_workers: int) -> Generator[tuple[Any, Tensor], None, None]:
    loaders = [getattr(trainer, name) for name in UNAUGMENTED if hasattr(trainer, name)]
    return clean_outputs(
        trainer.model,
        (loaders or [trainer.train_loader])[0].dataset,
        lambda: forward_of(trainer),
        trainer.device,
        amp=getattr(trainer.cfg, "prec_train", getattr(trainer.cfg, "prec", None)) == "amp",  # LIFT+, LIFT
        batch_size=batch_size,
        num_workers=num_workers,
    )


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
