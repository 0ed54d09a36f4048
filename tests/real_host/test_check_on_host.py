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
from checking import Found, check, only, skipped

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
LIST = "data/imagenet/ImageNet_LT_train.txt"
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
    assert skipped(found) == (["memory"] if config.endswith("inverse.py") else [])
    assert "10 of" in found["classes"][1]
    assert "train list" in found
    assert ("test list" in found) == ("inat" not in config)
    assert ("train_txt_ce.npy" in found["embeddings"][1]) == ("inat" in config)


def test_weights_and_memory_are_told_in_plain_numbers(checkout: Path) -> None:
    found = run(checkout, code=0)
    draws = np.sqrt([110, 70, 40, 25, 15, 8, 5, 3, 2, 1])
    alpha = draws.mean() / draws
    assert f"from {alpha.min():.3g} (a class of 110 images) to {alpha.max():.3g} (of 1), 1 on av" in found["weights"][1]
    assert "statistics of 12 MB on each rank (16 MB while ranks merge)" in found["memory"][1]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_missing_list(checkout: Path, split: str) -> None:
    own(checkout, f"data/imagenet/ImageNet_LT_{split}.txt").unlink()
    assert f"ImageNet_LT_{split}.txt" in only(run(checkout, code=1), f"{split} list")


def test_images_that_are_not_there(checkout: Path) -> None:
    folder = own(checkout, "data/imagenet/train/c0")
    folder.rename(folder.parent / "elsewhere")
    message = only(run(checkout, code=1), "images")
    assert "cannot be read; the first: " in message
    assert "data/imagenet/train/c0/0.png" in message


def test_a_label_beyond_the_class_count(checkout: Path) -> None:
    path = own(checkout, LIST)
    path.write_text(path.read_text().replace("/0.png 900", "/0.png 1000"))
    assert "targets in 0..999 (1000 classes) but found 1000" in only(run(checkout, code=1), "classes")


def test_sentences_of_another_data_set(checkout: Path) -> None:
    shutil.copy(checkout / "cached/PLACES_LT_text_tokens.pkl", own(checkout, TOKENS))
    assert "sentences for 1000 classes but found them for 365" in only(run(checkout, code=1), "sentences")


def test_a_missing_checkpoint_of_stage_one(checkout: Path) -> None:
    """The host would silently train on CLIP's tower."""
    (checkout / "checkpoints/pretrain_r50/checkpoint.pth").unlink()
    message = only(run(checkout, code=1), "stage one")
    assert "there is no checkpoints/pretrain_r50/checkpoint.pth" in message
    assert "silently start from pretrained/RN50.pt" in message


def test_a_damaged_checkpoint_of_stage_one(checkout: Path) -> None:
    path = checkout / "checkpoints/pretrain_r50/checkpoint.pth"
    path.write_bytes(path.read_bytes()[:-2000])
    assert "is it whole?" in only(run(checkout, code=1), "stage one")


def test_a_checkpoint_of_stage_one_without_all_of_the_tower(checkout: Path) -> None:
    """The host would silently leave the rest random, and frozen."""
    path = checkout / "checkpoints/pretrain_r50/checkpoint.pth"
    change(path, lambda saved: saved["model"].pop("visual.layer1.0.conv1.weight"))
    message = only(run(checkout, code=1), "model")
    assert "parameters are not in it (visual.layer1.0.conv1.weight, ...)" in message


def test_a_checkpoint_of_another_tower(checkout: Path) -> None:
    shutil.copy(
        checkout / "checkpoints/places_pretrain_vit16/checkpoint.pth",
        checkout / "checkpoints/pretrain_r50/checkpoint.pth",
    )
    only(run(checkout, code=1), "model")


def test_missing_embeddings(checkout: Path) -> None:
    """The host would print a warning and train with whatever is in memory."""
    own(checkout, EMBEDDINGS).unlink()
    message = only(run(checkout, code=1), "embeddings")
    assert f"There is no {EMBEDDINGS}" in message
    assert "--eval-pretrain" in message


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda array: array[:-1], "belong to other texts"),
        (lambda array: array[:, :32], "1999, 64] but got [1999, 32]"),
        (lambda array: array.ravel(), "belong to other texts"),
        (lambda array: np.where(np.arange(len(array))[:, None] == 5, np.nan, array), "finite and not 0"),
        (lambda array: np.where(np.arange(len(array))[:, None] == 5, 0, array), "finite and not 0"),
    ],
)
def test_embeddings_that_do_not_fit(checkout: Path, spoil: Callable[[Any], Any], words: str) -> None:
    path = own(checkout, EMBEDDINGS)
    np.save(path, spoil(np.load(path)))
    assert words in only(run(checkout, code=1), "embeddings")


def test_embeddings_that_are_no_array(checkout: Path) -> None:
    own(checkout, EMBEDDINGS).write_bytes(b"<html>not found</html>")
    assert "could not read it" in only(run(checkout, code=1), "embeddings")


def test_missing_or_other_losses_of_the_sentences(checkout: Path) -> None:
    path = own(checkout, "checkpoints/pretrain_r50/val_txt_ce.npy")
    np.save(path, np.load(path)[:-1])
    assert "a loss for each of 1999 sentences but got [1998]" in only(run(checkout, code=1), "embeddings")
    path.unlink()
    assert "--select (for val)" in only(run(checkout, code=1), "embeddings")


def test_more_sentences_wanted_than_any_class_has(checkout: Path) -> None:
    assert "size of tensor" in only(check(checkout, R50, "--host-args", "--input-size 32", code=1), "step")


def test_a_base_criterion_that_the_host_refuses(checkout: Path) -> None:
    path = checkout / R50
    path.write_text(path.read_text().replace("cfg = dict(", "cfg = dict(mixup=0.0,"))
    assert 'assert args.loss_type == "smoothCE"' in only(run(checkout, code=1), "training")


def test_a_typing_error_in_reweight(checkout: Path) -> None:
    path = checkout / R50
    path.write_text(path.read_text().replace('type="class_volume"', 'type="class_volume", start_epok=3'))
    assert "did you mean 'start_epoch'" in only(run(checkout, code=1), "reweight")


def test_parameters_that_are_not_finite(checkout: Path) -> None:
    path = checkout / "checkpoints/pretrain_r50/checkpoint.pth"
    change(path, lambda saved: saved["model"]["visual.conv1.weight"].fill_(float("nan")))
    assert "rows of visual logits" in only(run(checkout, code=1), "step")


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_hostile_pickles_are_never_run(checkout: Path, tmp_path: Path) -> None:
    bait = Hostile(tmp_path / "executed")
    path = checkout / "checkpoints/pretrain_r50/checkpoint.pth"
    whole = path.read_bytes()
    change(path, lambda saved: saved.update(extra=bait))
    assert "could run code" in only(run(checkout, code=1), "stage one")
    path.write_bytes(whole)

    folder = checkout / "checkpoints/imagenet_lt_r50_dv"
    folder.mkdir()
    torch.save({"model": {}, "extra": bait}, folder / "checkpoint.pth")
    assert "could run code" in only(run(checkout, code=1), "output")
    shutil.rmtree(folder)

    own(checkout, TOKENS).write_bytes(pickle.dumps([bait]))
    found = run(checkout, code=1)
    lists = ["train list", "val list", "test list"]
    assert [name for name, (status, _) in found.items() if status == "FAIL"] == lists
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
