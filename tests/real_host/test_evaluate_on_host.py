"""`vlltr-plugin evaluate` in a real checkout gives the numbers that the host's own evaluation logs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vlltr_plugin.hosts.vl_ltr.checkout_modules import checkout_modules
from vlltr_plugin.hosts.vl_ltr.trained_model import build, host_args, read_checkpoint

from .launch import shrink_towers
from .layout import HELD_OUT_COUNT, TRAIN_COUNTS
from .runner import PROJECT, HostRun, run_host, write_config

pytest.importorskip("matplotlib")
pytest.importorskip("torchmetrics")

pytestmark = pytest.mark.filterwarnings("ignore:Overwriting")  # a process of its own registers each model once

COMMAND = Path(__file__).with_name("launch_command.py")
R50 = {
    "imagenet_lt": "configs/imagelt/finetune/finetune_r50.py",  # test=True
    "inat18": "configs/inat/finetune/inat_finetune_r50.py",
}
PLACES_VIT16 = "configs/placeslt/finetune/places_finetune_vit16.py"
HOST_ARGS = "--input-size 32 --sent-length 2 --num_workers 0"
FLOAT32 = 1e-6  # relative: timm's accuracy, which the host averages, is a float32 percentage


def evaluate(checkout: Path, run: HostRun, config: str, *more: str) -> dict[str, Any]:
    command = [sys.executable, str(COMMAND), "evaluate", str(run.folder / "checkpoint.pth"), "--config", config]
    command += ["--device", "cpu", "--host-args", HOST_ARGS, *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((run.folder / "evaluation" / "evaluation.json").read_text())


def teach(checkout: Path, config: str, path: Path) -> None:
    """Give the checkpoint of a model that has learned next to nothing predictions that vary and are often right."""
    torch.manual_seed(0)
    with checkout_modules(checkout) as modules:
        shrink_towers()
        args = host_args(modules, checkout / config, "cpu", HOST_ARGS.split())
        host = build(modules, args, "test" if args.test else "val", read_checkpoint(path))
        images, labels = zip(*host.dataset, strict=True)
        with torch.no_grad():
            features = host.model.encode_image(torch.stack(images))
    labels, centre = torch.tensor(labels), features.mean(dim=0)
    present, features = labels.unique(), features - centre
    saved = torch.load(path, weights_only=False)
    state = saved["model"]
    state["visual.attnpool.c_proj.bias"] -= centre
    state["text_embeddings"][:] = 1.0
    for label in present:
        state["text_embeddings"][label] = features[labels == label].mean(dim=0)
    state["text_block.visual_fc.0.weight"] *= 100 / features.std()
    state["text_block.visual_fc.2.weight"].normal_(std=0.1)
    state["text_block.visual_fc.2.bias"][present] += 20.0
    torch.save(saved, path)


@pytest.mark.parametrize("name", R50)
def test_numbers_equal_the_hosts_own_log(compat_checkout: Path, name: str) -> None:
    config = write_config(compat_checkout, name, R50[name], epochs=1)
    run = run_host(compat_checkout, config)
    teach(compat_checkout, config, run.folder / "checkpoint.pth")
    line = run_host(compat_checkout, config, "--eval").log[-1]

    found = evaluate(compat_checkout, run, config)
    split = "test" if name == "imagenet_lt" else "val"
    assert found["split"] == split
    assert found["images"] == found["split_images"] == HELD_OUT_COUNT * len(TRAIN_COUNTS)
    assert found["not_finite"] == 0
    assert found["differs_from_training"] == {}
    assert len(found["host_log"]) == 11
    assert found["host_log"] == pytest.approx({key: line[f"{split}_{key}"] for key in found["host_log"]}, rel=FLOAT32)
    row = found["trade_off"]["rows"][0]  # tau 0
    assert [row["top1"], row["many"], row["medium"], row["few"]] == [
        found["host_log"][key] for key in ("acc1", "many", "median", "low")
    ]
    groups = found["groups"]["upstream"]
    assert [groups[group]["classes"] for group in ("many", "medium", "few", "10-shot", "5-shot")] == [1, 3, 6, 5, 4]
    rules = {rule: values["top1"] for rule, values in found["rules"].items()}
    assert len(set(rules.values())) > 2, rules  # else the test could not tell the rules apart


def test_names_come_from_the_checkout_and_differences_are_told(compat_checkout: Path) -> None:
    config = write_config(compat_checkout, "places", PLACES_VIT16, epochs=1)
    run = run_host(compat_checkout, config)
    other = write_config(compat_checkout, "other", PLACES_VIT16, epochs=1, clip_ms=False)
    found = evaluate(compat_checkout, run, other, "--limit", "8", "--batch-size", "3")
    assert found["differs_from_training"] == {"clip_ms": {"here": "False", "training": "True"}}
    assert found["images"] == 8
    assert found["rules"]["sum"]["worst_class"]["name"].startswith("place ")
