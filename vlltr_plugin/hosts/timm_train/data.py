"""Labels of timm's data sets, and the expected draws of its samplers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vlltr_plugin.training.draws import class_counts_of, expected_draws

REPEATING = "RepeatAugSampler"
"""This sampler draws a random part of the images, each several times, so class proportions do not change."""

PLAIN_BATCHES = ("BatchSampler", "ScheduledBatchSampler", "_RepeatSampler")
"""Batch samplers that group the draws of their sampler: torch's, and those of timm's `--train-img-sizes` and
multi-epochs loader."""


WRAPPERS = ("ScheduledTransformDataset", "AugMixDataset")
"""Data sets that transform the images of another one: those of `--train-img-sizes` and `--aug-splits`."""


def _inner(dataset: Any) -> Any:
    """The data set that holds the images."""
    while type(dataset).__name__ in WRAPPERS:
        dataset = dataset.dataset
    return dataset


def labels_of(dataset: Any) -> Any:
    """The label of each image, from torchvision's data sets or the reader of timm's own; ValueError if not known."""
    dataset = _inner(dataset)
    reader: Any = getattr(dataset, "reader", None)
    if type(reader).__name__ == "ReaderHfds":
        labels = list(reader.dataset[reader.label_key])
        return [reader.class_to_idx[label] for label in labels] if reader.remap_class else labels
    if type(dataset).__name__ == "INaturalist" and dataset.target_type == ["full"]:
        return [category for category, _ in dataset.index]
    for source in (dataset, reader):
        for name in ("targets", "labels"):
            if (found := getattr(source, name, None)) is not None:
                return found
        if (samples := getattr(source, "samples", None)) is not None:
            return [sample[1] for sample in samples]
    raise ValueError(
        f"Expected a training set whose labels are known before training but {type(dataset).__name__} "
        f"({type(reader or dataset).__name__}) does not: the classes cannot be counted. Use folders, tar files or "
        "--dataset torch/... or hfds/..., or give the data set an attribute `targets`."
    )


def sampler_of(loader: Any) -> Any:
    """The sampler of a training loader."""
    loader = getattr(loader, "loader", loader)  # inside timm's prefetcher
    batches = loader.batch_sampler
    return batches.sampler if type(batches).__name__ == "ScheduledBatchSampler" else loader.sampler


def counts_and_draws(loader: Any, num_classes: int) -> tuple[Tensor, Tensor]:
    """Training images and expected draws of each class in an epoch, `[C]`; ValueError if not known."""
    loader = getattr(loader, "loader", loader)
    labels, batches, sampler = labels_of(loader.dataset), type(loader.batch_sampler).__name__, sampler_of(loader)
    counts = class_counts_of(labels, num_classes)
    if batches not in PLAIN_BATCHES:
        raise ValueError(
            f"Expected a training loader that draws image by image but it has a {batches}, whose draws are not known: "
            "use a sampler."
        )
    if type(sampler).__name__ == REPEATING:
        return counts, counts.double()
    return counts, expected_draws(sampler, labels, num_classes)


def class_names_of(dataset: Any, num_classes: int) -> list[str] | None:
    """The names of the classes in order, if the data set or its reader has all of them."""
    dataset = _inner(dataset)
    for source in (dataset, getattr(dataset, "reader", None)):
        for name in ("class_to_idx", "class_name_to_idx"):
            index = getattr(source, name, None)
            if isinstance(index, dict) and sorted(index.values()) == list(range(num_classes)):
                return [str(label) for label in sorted(index, key=index.__getitem__)]
    return None
