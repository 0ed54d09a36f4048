"""The supplied configs: upstream's settings but for the named keys, with either Config."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from vlltr_plugin.compat.stand_ins import Config
from vlltr_plugin.core.registry import build_weighting
from vlltr_plugin.hosts.vl_ltr.branches import BRANCHES
from vlltr_plugin.resources import configs_dir
from vlltr_plugin.training.settings import parse

FOLDER = configs_dir()
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
BASES = {
    "imagenet_lt_r50": "imagelt/finetune/finetune_r50.py",
    "imagenet_lt_vit16": "imagelt/finetune/finetune_vit16.py",
    "places_lt_r50": "placeslt/finetune/places_finetune_r50.py",
    "places_lt_vit16": "placeslt/finetune/places_finetune_vit16.py",
    "inat18_r50": "inat/finetune/inat_finetune_r50.py",
    "inat18_vit16": "inat/finetune/inat_finetune_vit16.py",
}
METHODS = {
    "dv": {"reweight": {"type": "class_volume"}},
    "dv_eq16": {"reweight": {"type": "class_volume", "counts": "dataset", "normalize": "dataset"}},
    "inverse": {"reweight": {"type": "inverse", "start_epoch": 1}},
    "en": {"reweight": {"type": "effective_number", "beta": 0.9999, "start_epoch": 1}},
    "baseline100": {},
}


def split(name):
    """A config's name as the upstream config it extends and the method it adds."""
    (own,) = (own for own in BASES if name.startswith(f"{own}_"))
    return BASES[own], name.removeprefix(f"{own}_")


def args_of(read, path):
    """What the host sets on its arguments: every key of every top-level dict."""
    args: dict[str, Any] = {}
    for item in read(str(path))._cfg_dict.values():
        args.update(item)
    return args


@pytest.fixture(params=["ours", "mmcv 1.x"])
def read(request):
    if request.param == "ours":
        return Config.fromfile
    config = getattr(pytest.importorskip("mmcv"), "Config", Config)
    if config is Config:
        pytest.skip("the mmcv here is not 1.x")
    return config.fromfile


@pytest.fixture(params=["own words", "checkout"])
def upstream(request, tmp_path):
    """A folder of configs to extend: a real checkout's, and one that only marks which file was read."""
    if request.param == "checkout":
        if "VLLTR_CHECKOUT" not in os.environ:
            pytest.skip("VLLTR_CHECKOUT does not name a VL-LTR checkout")
        source = Path(os.environ["VLLTR_CHECKOUT"]) / "configs"
    for base in BASES.values():
        target = tmp_path / base
        target.parent.mkdir(parents=True, exist_ok=True)
        text = f"cfg = dict(marker={base!r}, epochs=7, two_branch=True)" if request.param == "own words" else None
        target.write_text(text or (source / base).read_text())
    (tmp_path / "class_volume").mkdir()
    for path in FOLDER.glob("*.py"):
        (tmp_path / "class_volume" / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_there_is_one_config_for_every_run_and_none_resumes_a_baseline_by_its_name():
    runs = {(base, method) for base in BASES.values() for method in METHODS if method != "baseline100"}
    runs |= {(base, "baseline100") for base in BASES.values() if base.startswith("inat")}
    assert sorted(split(name) for name in NAMES) == sorted(runs)
    assert not set(NAMES) & {Path(base).stem for base in BASES.values()}


@pytest.mark.parametrize("name", NAMES)
def test_args_are_upstreams_but_for_the_named_keys(name, read, upstream):
    base, method = split(name)
    expected = args_of(read, upstream / base) | METHODS[method]
    if name.startswith("inat18"):
        expected["epochs"] = 100
    assert args_of(read, upstream / "class_volume" / f"{name}.py") == expected


@pytest.mark.parametrize("method", [method for method in METHODS if METHODS[method]])
def test_every_method_builds_a_weighting_that_starts_at_epoch_1(method):
    settings = parse(METHODS[method]["reweight"], BRANCHES)
    weighting = build_weighting(settings.type, [5, 3, 2], draws=[3, 3, 3], **settings.options)
    assert weighting.start_epoch == 1
    assert torch.equal(weighting.weights, torch.ones(3))
