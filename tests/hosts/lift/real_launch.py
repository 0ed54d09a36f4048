"""Runs the main.py of a real LIFT checkout, with a tiny random CLIP and images of our own in place of downloads.

    VLLTR_DATA=... python tests/hosts/lift/real_launch.py CHECKOUT [main.py's arguments]

`LIFT_IMAGES=20` cuts each class to one in 20 of its images (1: all of CIFAR-100-LT with imbalance 100); without
`VLLTR_DATA` the images are noise. Where a checkout has no `clip` package (LIFT+), `LIFT_CLIP` names a folder with one.
"""

import importlib
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

if not torch.cuda.is_available():  # a torchvision built for CUDA cannot load its operators beside a CPU build of torch
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision

sys.path.append(str(Path(__file__).parents[2]))
from hosts.real_images import images

CLASSES, LARGEST, IMBALANCE = 100, 500, 100


def counts(split: str, thinned: int) -> list[int]:
    if split == "test":
        return [max(100 // thinned, 1)] * CLASSES
    return [max(int(LARGEST * IMBALANCE ** (-i / (CLASSES - 1))) // thinned, 1) for i in range(CLASSES)]


class Images(torchvision.datasets.VisionDataset):
    """In the place of torchvision's CIFAR100: already long-tailed."""

    def __init__(self, root: str, train: bool = True, transform: Any = None, *args: Any) -> None:
        super().__init__(root, transform=transform)
        split, thinned = "train" if train else "test", int(os.environ.get("LIFT_IMAGES", "1"))
        of_class = images("cifar100_lt", split, counts(split, thinned))
        self.data = np.concatenate(of_class)
        self.targets = np.repeat(np.arange(CLASSES), list(map(len, of_class))).tolist()
        self.classes = [f"thing {label}" for label in range(CLASSES)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = torchvision.transforms.functional.to_pil_image(self.data[index])
        return self.transform(image), self.targets[index]


def tiny_clip(*args: Any, **kwargs: Any) -> Any:
    """A CLIP of the checkout's own code, with few random parameters."""
    torch.manual_seed(0)
    model = importlib.import_module("clip.model").CLIP(64, 32, 2, 64, 16, 77, 49408, 64, 1, 1)
    return model.float()


def prepare(root: Path) -> None:
    """Puts the images and the CLIP into the modules of a checkout."""
    sys.path.insert(0, str(root))
    sys.path.append(os.environ.get("LIFT_CLIP", str(root)))
    torchvision.datasets.CIFAR100 = Images
    data = importlib.import_module("datasets.cifar100")
    data.IMBALANCECIFAR100.gen_imbalanced_data = lambda self, counts: None
    importlib.import_module("clip.clip").load = lambda *args, **kwargs: (tiny_clip(), None)
    trainer = importlib.import_module("trainer")
    if hasattr(trainer, "load_clip_to_cpu"):
        trainer.load_clip_to_cpu = tiny_clip


def main() -> None:
    root = Path(sys.argv[1]).resolve()
    os.chdir(root)
    prepare(root)
    sys.argv = ["main.py", *sys.argv[2:]]
    runpy.run_path("main.py", run_name="__main__")


if __name__ == "__main__":
    main()
