"""`vlltr-plugin check` in a real checkout, on data in the formats of the three data sets: fine, then one fault each."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checking import Found, check, edited, only, with_status
from hostile import Hostile

from vlltr_plugin.hosts.door import open_host
from vlltr_plugin.install import install

from .layout import insert_small_towers

pytestmark = pytest.mark.usefixtures("forked")

FOLDER = "configs/class_volume/"
R50 = f"{FOLDER}imagenet_lt_r50_dv.py"
STAGE_ONE = {
    R50: "pretrain_r50",
    f"{FOLDER}places_lt_vit16_dv.py": "places_pretrain_vit16",
    f"{FOLDER}inat18_r50_dv.py": "inat_pretrain_r50",
    f"{FOLDER}inat18_vit16_inverse.py": "inat_pretrain_vit16",
}
HOST_ARGS = "--input-size 32 --sent-length 2"
EMBEDDINGS = "checkpoints/pretrain_r50/txt_embed.npy"
TOKENS = "cached/IMNET_LT_text_tokens.pkl"


@pytest.fixture(scope="module")
def installed(copy_checkout: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with data, installed plug-in, and stage-one checkpoints with whole towers; not to be written to."""
    checkout = copy_checkout(tmp_path_factory.mktemp("check_host") / "VL-LTR")
    insert_small_towers(checkout)
    install(checkout)
    for config, folder in STAGE_ONE.items():
        path = own(checkout, f"checkpoints/{folder}/checkpoint.pth")
        arguments = ["--config", str(checkout / config), "--device", "cpu", *HOST_ARGS.split()]
        with open_host(checkout, arguments, ("launch:save_towers", {"path": str(path)})) as messages:
            assert list(messages) == []
    return checkout


@pytest.fixture
def checkout(installed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(installed, tmp_path / "VL-LTR", symlinks=True))


def own(checkout: Path, name: str) -> Path:
    """Makes a linked file the checkout's own, to be spoilt."""
    path = checkout
    for part in Path(name).parts:
        path = path / part
        if path.is_symlink():
            target = path.resolve()
            path.unlink()
            if target.is_dir():
                path.mkdir()
                for entry in target.iterdir():
                    (path / entry.name).symlink_to(entry)
            else:
                shutil.copy(target, path)
    return path


def run(checkout: Path, config: str = R50, *, code: int, more: str = "") -> Found:
    return check(checkout, config, "--host-args", f"{HOST_ARGS} {more}", code=code)


def change(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    saved = torch.load(path, weights_only=False)
    how(saved)
    torch.save(saved, path)


@pytest.mark.parametrize("config", STAGE_ONE)
def test_all_is_fine(checkout: Path, config: str) -> None:
    found = run(checkout, config, code=0)
    assert with_status(found, "skip") == (["memory"] if config.endswith("inverse.py") else [])
    assert "10 of" in found["classes"][1]
    assert "train list" in found
    assert ("test list" in found) == ("inat" not in config)
    assert ("train_txt_ce.npy" in found["embeddings"][1]) == ("inat" in config)


def array(name: str, how: Callable[[Any], Any]) -> Callable[[Path], None]:
    """A function that changes an array among the results of stage one."""

    def spoil(checkout: Path) -> None:
        path = own(checkout, f"checkpoints/pretrain_r50/{name}")
        np.save(path, how(np.load(path)))

    return spoil


def with_row(value: float) -> Callable[[Path], None]:
    return array("txt_embed.npy", lambda a: np.where(np.arange(len(a))[:, None] == 5, value, a))


def saved(how: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda checkout: change(checkout / SAVED, how)


def label_beyond(checkout: Path) -> None:
    path = own(checkout, "data/imagenet/ImageNet_LT_train.txt")
    path.write_text(path.read_text().replace("/0.png 900", "/0.png 1000"))


def no_images(checkout: Path) -> None:
    folder = own(checkout, "data/imagenet/train/c0")
    folder.rename(folder.parent / "elsewhere")


def copied(source: str, target: str) -> Callable[[Path], object]:
    return lambda checkout: shutil.copy(checkout / source, own(checkout, target))


SAVED = "checkpoints/pretrain_r50/checkpoint.pth"
LISTS = {split: f"ImageNet_LT_{split}.txt" for split in ("train", "val", "test")}
ARRAY, LOSSES = "txt_embed.npy", "checkpoints/pretrain_r50/val_txt_ce.npy"
WEIGHT = "visual.layer1.0.conv1.weight"
FAULTS: dict[tuple[str, str], Callable[[Path], object]] = {
    **{(f"{split} list", name): lambda c, name=name: own(c, f"data/imagenet/{name}").unlink()
       for split, name in LISTS.items()},
    ("images", "data/imagenet/train/c0/0.png"): no_images,
    ("classes", "targets in 0..999 (1000 classes) but found 1000"): label_beyond,
    ("sentences", "for 1000 classes but found them for 365"): copied("cached/PLACES_LT_text_tokens.pkl", TOKENS),
    # The host would silently train on CLIP's tower.
    ("stage one", "silently start from pretrained/RN50.pt"): lambda c: (c / SAVED).unlink(),
    ("stage one", "incomplete or damaged"): lambda c: (c / SAVED).write_bytes((c / SAVED).read_bytes()[:-2000]),
    # The host would silently leave the rest random, and frozen.
    ("model", f"parameters are not in it ({WEIGHT}, ...)"): saved(lambda s: s["model"].pop(WEIGHT)),
    ("model", "size mismatch"): copied("checkpoints/places_pretrain_vit16/checkpoint.pth", SAVED),
    ("step", "rows of visual logits"): saved(lambda s: s["model"]["visual.conv1.weight"].fill_(float("nan"))),
    # The host would print a warning and train with whatever is in memory.
    ("embeddings", f"There is no {EMBEDDINGS}"): lambda c: own(c, EMBEDDINGS).unlink(),
    ("embeddings", "could not read it"): lambda c: own(c, EMBEDDINGS).write_bytes(b"<html>not found</html>"),
    ("embeddings", "[1998, 64]: they belong to other texts"): array(ARRAY, lambda a: a[:-1]),
    ("embeddings", "1999, 64] but got [1999, 32]"): array(ARRAY, lambda a: a[:, :32]),
    ("embeddings", "[127936]: they belong to other texts"): array(ARRAY, np.ravel),
    ("embeddings", "finite and not 0 but"): with_row(np.nan),
    ("embeddings", "finite and not 0"): with_row(0),
    ("embeddings", "sentences but got [1998]"): array("val_txt_ce.npy", lambda a: a[:-1]),
    ("embeddings", "--select (for val)"): lambda c: own(c, LOSSES).unlink(),
    ("training", 'assert args.loss_type == "smoothCE"'): edited(R50, "cfg = dict(", "cfg = dict(mixup=0.0,"),
    ("reweight", "did you mean 'start_epoch'"): edited(R50, '"class_volume"', '"class_volume", start_epok=3'),
}  # fmt: skip


@pytest.mark.parametrize(("name", "message"), FAULTS)
def test_each_fault_fails_its_own_check(checkout: Path, name: str, message: str) -> None:
    FAULTS[name, message](checkout)
    assert message in only(run(checkout, code=1), name)


def test_more_sentences_wanted_than_any_class_has(checkout: Path) -> None:
    assert "size of tensor" in only(check(checkout, R50, "--host-args", "--input-size 32", code=1), "step")


def test_hostile_pickles_are_never_run(checkout: Path, tmp_path: Path) -> None:
    bait, path = Hostile(tmp_path / "executed"), checkout / SAVED
    whole = path.read_bytes()
    change(path, lambda saved: saved.update(extra=bait))
    assert "could run code" in only(run(checkout, code=1), "stage one")
    path.write_bytes(whole)
    own(checkout, TOKENS).write_bytes(pickle.dumps([bait]))
    found = run(checkout, code=1)
    assert with_status(found, "FAIL") == ["train list", "val list", "test list"]
    assert f"{TOKENS}: it holds posix.mkdir, which could run code" in found["train list"][1]
    assert not (tmp_path / "executed").exists()


def test_the_hosts_cache_of_sentences_is_not_written(checkout: Path) -> None:
    """Without one the host tokenizes all texts, and would write it."""
    pytest.importorskip("open_clip")
    own(checkout, "cached")
    for path in (checkout / "cached").iterdir():
        path.unlink()
    path = own(checkout, "data/imagenet/labels.txt")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:20]))
    found = run(checkout, code=1)
    assert "for 1000 classes but found them for 20" in only(found, "sentences")
    assert os.listdir(checkout / "cached") == []
