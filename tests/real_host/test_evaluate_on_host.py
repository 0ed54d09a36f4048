"""`vlltr-plugin evaluate` in a real checkout gives the numbers that the host's own evaluation logs."""

import json
from pathlib import Path
from typing import Any

import pytest

from vlltr_plugin.cli import main
from vlltr_plugin.hosts.door import open_host

from .layout import HELD_OUT_COUNT, TRAIN_COUNTS, insert_small_towers
from .runner import HostRun, run_host, write_config

pytest.importorskip("matplotlib")
pytest.importorskip("torchmetrics")

pytestmark = pytest.mark.usefixtures("forked")

R50 = {
    "imagenet_lt": "configs/imagelt/finetune/finetune_r50.py",  # test=True
    "inat18": "configs/inat/finetune/inat_finetune_r50.py",
}
PLACES_VIT16 = "configs/placeslt/finetune/places_finetune_vit16.py"
HOST_ARGS = "--input-size 32 --sent-length 2 --num_workers 0"
FLOAT32 = 1e-6  # relative: timm's accuracy, which the host averages, is a float32 percentage


@pytest.fixture
def small_checkout(checkout: Path) -> Path:
    """Without the plug-in's lines: they are put into a copy of main.py."""
    insert_small_towers(checkout)
    return checkout


def evaluate(checkout: Path, run: HostRun, config: str, *more: str) -> dict[str, Any]:
    where = ["--checkout", str(checkout), "--config", config, "--device", "cpu", "--host-args", HOST_ARGS]
    assert main(["evaluate", str(run.folder / "checkpoint.pth"), *where, *more]) == 0
    return json.loads((run.folder / "evaluation" / "evaluation.json").read_text())


def teach(checkout: Path, config: str, path: Path) -> None:
    arguments = ["--config", str(checkout / config), "--device", "cpu", *HOST_ARGS.split()]
    with open_host(checkout, arguments, ("launch:teach", {"path": str(path)})) as messages:
        assert list(messages) == []


@pytest.mark.parametrize("name", R50)
def test_numbers_equal_the_hosts_own_log(small_checkout: Path, name: str) -> None:
    config = write_config(small_checkout, name, R50[name], epochs=1)
    run = run_host(small_checkout, config)
    teach(small_checkout, config, run.folder / "checkpoint.pth")
    line = run_host(small_checkout, config, "--eval").log[-1]

    found = evaluate(small_checkout, run, config)
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


def test_names_come_from_the_checkout_and_differences_are_listed(small_checkout: Path) -> None:
    config = write_config(small_checkout, "places", PLACES_VIT16, epochs=1)
    run = run_host(small_checkout, config)
    other = write_config(small_checkout, "other", PLACES_VIT16, epochs=1, clip_ms=False)
    found = evaluate(small_checkout, run, other, "--limit", "8", "--batch-size", "3")
    assert found["differs_from_training"] == {"clip_ms": {"here": "False", "training": "True"}}
    assert found["images"] == 8
    assert found["rules"]["sum"]["worst_class"]["name"].startswith("place ")
