"""The long-tailed digits: images, labels, and the sentences about each class."""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset


class DigitsLT(Dataset[tuple[Tensor, int]]):
    """One split of the digits.

    Args:
        root: Folder with `<split>.npz` (images [N, 8, 8] in 0..1, labels [N]) and the text embeddings.
        split: "train", "val" or "test".
        pipeline: Maps an image [1, 8, 8] to what the model sees.

    Attributes:
        targets: The label of each image.
        text_embeddings: [C, S, D], zeros where a class has fewer than S sentences.
        end_idxs: The number of sentences of each class.
    """

    def __init__(self, root: Path, split: str, pipeline: Callable[[Tensor], Tensor]) -> None:
        with np.load(root / f"{split}.npz") as arrays:
            self.images = torch.from_numpy(arrays["images"]).float()[:, None]
            self.targets: list[int] = arrays["labels"].tolist()
        self.pipeline = pipeline
        self.text_embeddings = torch.from_numpy(np.load(root / "text_embeddings.npy")).float()
        self.end_idxs: list[int] = np.load(root / "sentence_counts.npy").tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pipeline(self.images[index]), self.targets[index]


def shift_and_add_noise(image: Tensor) -> Tensor:
    """Move the image [1, H, W] by up to a pixel each way and add a little noise (torch's generator)."""
    _, height, width = image.shape
    top, left = (int(step) for step in torch.randint(0, 3, (2,)))
    moved = F.pad(image, (1, 1, 1, 1))[:, top : top + height, left : left + width]
    return moved + 0.05 * torch.randn(moved.shape)


def centre(image: Tensor) -> Tensor:
    """Map values in 0..1 to -1..1."""
    return image * 2.0 - 1.0


def build_transform(is_train: bool, args: argparse.Namespace) -> Callable[[Tensor], Tensor]:
    """Return the transform of an image: with augmentation for training, else only scaled."""
    if not is_train:
        return centre
    return lambda image: centre(shift_and_add_noise(image))


def build_dataset(split: str, args: argparse.Namespace) -> tuple[DigitsLT, int]:
    """Return a split and the number of classes."""
    dataset = DigitsLT(Path(args.data_path), split, build_transform(split == "train", args))
    return dataset, len(dataset.end_idxs)
