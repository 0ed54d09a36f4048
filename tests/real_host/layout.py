"""Small data in the real formats of the three data sets, and checkouts that find it."""

import argparse
import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hosts.real_images import images
from PIL import Image

TRAIN_COUNTS = (110, 70, 40, 25, 15, 8, 5, 3, 2, 1)  # images of the classes that have any
HELD_OUT_COUNT = 4  # images a class in val and test
SENTENCES = (1, 2, 3)  # sentences a class, in turn; hosts run with --sent-length 2
EMBED_DIM = 64  # as in launch.py
LINKED = ("data", "cached", "pretrained")


@dataclass(frozen=True)
class DataSet:
    """Where the host looks for one data set, and the class count that it hard-codes."""

    name: str  # the host's --data-set
    folder: str
    classes: int
    stage_one: Mapping[str, str]  # tower -> folder of the pre-training stage's results

    @property
    def labels(self) -> list[int]:
        return [position * (self.classes // len(TRAIN_COUNTS)) for position in range(len(TRAIN_COUNTS))]


IMAGENET_LT = DataSet("IMNET_LT", "data/imagenet", 1000, {"r50": "pretrain_r50", "vit16": "pretrain_vit16"})
PLACES_LT = DataSet("PLACES_LT", "data/places", 365, {"r50": "places_pretrain_r50", "vit16": "places_pretrain_vit16"})
INAT18 = DataSet("INAT", "data/iNat", 8142, {"r50": "inat_pretrain_r50", "vit16": "inat_pretrain_vit16"})
DATA_SETS = (IMAGENET_LT, PLACES_LT, INAT18)


def checkout_of_environment() -> Path:
    """A clean VL-LTR clone, not to be written to; the test is skipped if there is none."""
    folder = Path(os.environ.get("VLLTR_CHECKOUT", "no folder"))
    if not (folder / "main.py").is_file():
        pytest.skip("set VLLTR_CHECKOUT to a clean clone of VL-LTR at e5391f5 to run the real host")
    return folder


def prepare_checkout(source: Path, target: Path, data_root: Path) -> Path:
    """Copies a clean checkout and links data of `write_data` into it; `git status` stays clean there."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    for name in LINKED:
        (target / name).symlink_to(data_root / name, target_is_directory=True)
    checkpoints = target / "checkpoints"
    checkpoints.mkdir()
    for folder in (data_root / "checkpoints").iterdir():
        (checkpoints / folder.name).symlink_to(folder, target_is_directory=True)
    ours = [*LINKED, "checkpoints", "configs/real_host", "__pycache__"]
    exclude = target / ".git" / "info" / "exclude"
    if exclude.parent.parent.is_dir():
        exclude.parent.mkdir(exist_ok=True)
        with exclude.open("a", encoding="utf-8") as file:
            file.write("".join(f"\n{name}" for name in ours) + "\n")
    return target


def insert_compat_import(checkout: Path) -> None:
    """Write the one line into the checkout's main.py that a current stack needs."""
    main = checkout / "main.py"
    main.write_bytes(b"import vlltr_plugin.compat\n" + main.read_bytes())


def insert_small_towers(checkout: Path) -> None:
    """Make the checkout's main.py build small models, as `launch.py` does."""
    main, here = checkout / "main.py", str(Path(__file__).parent)
    lines = f"import sys\nsys.path.append({here!r})\nimport launch\nlaunch.shrink_towers()\n"
    main.write_text(lines + main.read_text())


def write_data(root: Path, seed: int = 0) -> Path:
    """Writes images, lists, texts and stage-one results of the three data sets: `data`, `cached`, `checkpoints`."""
    rng = np.random.default_rng(seed)
    _write_clip_archives(root / "pretrained")
    of_splits = {split: _images(split) for split in ("train", "val", "test")}
    for data_set in DATA_SETS:
        lists = _write_images(root / data_set.folder, data_set, of_splits)
        if data_set is INAT18:
            _write_inat_lists(root / data_set.folder, lists)
        else:
            _write_text_lists(root / data_set.folder, data_set, lists)
        _write_wiki(root / data_set.folder, data_set)
        sentences = [SENTENCES[label % len(SENTENCES)] for label in range(data_set.classes)]
        _write_tokens(root / "cached", data_set, sentences)
        for tower, folder in data_set.stage_one.items():
            _write_stage_one(root / "checkpoints" / folder, tower, sentences, rng)
    return root


def _images(split: str) -> list[np.ndarray]:
    counts = TRAIN_COUNTS if split == "train" else (HELD_OUT_COUNT,) * len(TRAIN_COUNTS)
    skip = HELD_OUT_COUNT if split == "test" else 0
    return images("cifar10_lt_mini", "train" if split == "train" else "test", counts, skip)


def _write_images(
    folder: Path, data_set: DataSet, of_splits: Mapping[str, list[np.ndarray]]
) -> dict[str, list[tuple[str, int]]]:
    lists: dict[str, list[tuple[str, int]]] = {}
    for split, classes in of_splits.items():
        lists[split] = []
        for label, pixels in zip(data_set.labels, classes, strict=True):
            (folder / split / f"c{label}").mkdir(parents=True)
            for number, image in enumerate(pixels):
                name = f"{split}/c{label}/{number}.png"
                Image.fromarray(image).save(folder / name, compress_level=1)
                lists[split].append((name, label))
    return lists


def _write_text_lists(folder: Path, data_set: DataSet, lists: Mapping[str, list[tuple[str, int]]]) -> None:
    stem = "ImageNet_LT" if data_set is IMAGENET_LT else "Places_LT"
    for split, entries in lists.items():
        (folder / f"{stem}_{split}.txt").write_text("".join(f"{name} {label}\n" for name, label in entries))
    if data_set is IMAGENET_LT:
        lines = [f"n{label:08d} {label} thing_{label}\n" for label in range(data_set.classes)]
    else:
        lines = [f"/p/place_{label} {label}\n" for label in range(data_set.classes)]
    (folder / "labels.txt").write_text("".join(lines))


def _write_inat_lists(folder: Path, lists: Mapping[str, list[tuple[str, int]]]) -> None:
    for split, entries in lists.items():
        images = [{"id": number, "file_name": name} for number, (name, _) in enumerate(entries)]
        annotations = [
            {"id": number, "image_id": number, "category_id": label} for number, (_, label) in enumerate(entries)
        ]
        (folder / f"{split}2018.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    categories = [{"id": label, "name": f"species {label}"} for label in range(INAT18.classes)]
    (folder / "categories.json").write_text(json.dumps(categories))


def _write_wiki(folder: Path, data_set: DataSet) -> None:
    (folder / "wiki").mkdir()
    for label in range(data_set.classes):
        (folder / "wiki" / f"desc_{label}.txt").write_text(
            f"Number {label} is a kind. It is known.\n== Looks ==\nIt looks.\n"
        )


def _write_tokens(folder: Path, data_set: DataSet, sentences: list[int]) -> None:
    """Write the host's token cache, so that it need not tokenize 80 prompts for each class."""
    folder.mkdir(exist_ok=True)
    padding = [0] * 74  # to CLIP's 77
    tokens = [torch.tensor([[49406, 320 + label, 49407, *padding]] * count) for label, count in enumerate(sentences)]
    with (folder / f"{data_set.name}_text_tokens.pkl").open("wb") as file:
        pickle.dump(tokens, file)


def _write_stage_one(folder: Path, tower: str, sentences: list[int], rng: np.random.Generator) -> None:
    """Write what the pre-training stage leaves: sentence embeddings, their losses, a checkpoint."""
    folder.mkdir(parents=True)
    of_class = np.repeat(rng.standard_normal((len(sentences), EMBED_DIM)), sentences, axis=0)
    embeddings = of_class + 0.5 * rng.standard_normal(of_class.shape)
    np.save(folder / "txt_embed.npy", embeddings.astype(np.float32))
    for split in ("train", "val"):
        np.save(folder / f"{split}_txt_ce.npy", rng.random(len(embeddings), dtype=np.float32))
    model = {"logit_scale": torch.tensor(np.log(1 / 0.07), dtype=torch.float32)}
    if tower == "vit16":
        model["visual.positional_embedding"] = torch.from_numpy(0.1 * rng.standard_normal((5, EMBED_DIM))).float()
    else:  # zero, or it would drown what little an untrained ResNet says of an image
        model["visual.attnpool.positional_embedding"] = torch.zeros(2, 256)
    args = argparse.Namespace(epochs=50, model=f"CVLP_{tower}", opt_betas=None)
    torch.save({"model": model, "epoch": 49, "args": args}, folder / "checkpoint.pth")


def _write_clip_archives(folder: Path) -> None:
    """Write what stands for OpenAI's TorchScript archives, which the pre-training stage starts from."""
    folder.mkdir(parents=True)
    for name, tower in (("RN50.pt", "r50"), ("ViT-B-16.pt", "vit16")):
        archive = torch.nn.Module()
        archive.visual = torch.nn.Module()
        if tower == "vit16":
            archive.visual.positional_embedding = torch.nn.Parameter(torch.zeros(5, EMBED_DIM))
        archive.logit_scale = torch.nn.Parameter(torch.tensor(2.66))
        torch.jit.script(archive).save(str(folder / name))
