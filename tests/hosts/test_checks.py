"""`vlltr-plugin check` on the stand-ins for LIFT and timm's train.py."""

from pathlib import Path

import pytest
from checking import check, edited, with_status
from hosts.standins import installed

from vlltr_plugin.cli import main
from vlltr_plugin.install import uninstall

pytestmark = pytest.mark.usefixtures("forked")

LIFT = "loss_type CE reweight.type class_volume"
TIMM = "--reweight class_volume --reweight-opt min_samples=5"
Expected = dict[str, tuple[str, str]]

CASES: dict[tuple[str, str], tuple[str, Expected]] = {
    ("lift", "a run that fits"): (LIFT, {
        "labels": ("ok", "227 images of 5 classes, 5 to 120 each"), "sampler": ("ok", "2.20% to 52.86% of the draws"),
        "reweight": ("ok", "as loss weights, from epoch [2/2] on"), "step": ("ok", "[8, 5] finite logits")}),
    ("lift", "measured first"): (
        f"{LIFT} reweight.measure_first True",
        {"reweight": ("ok", "from epoch [1/2] on; with equal radii alpha runs from 0.378 to 9.08")}),
    ("lift", "a plain run"): ("loss_type Focal", {"reweight": ("skip", ""), "step": ("ok", "")}),
    ("lift", "a loss of another kind"): (f"{LIFT} loss_type Focal", {"reweight": ("FAIL", "CE (class weights) or LA")}),
    ("lift", "a wrong type"): ("reweight.type class_volum", {"reweight": ("FAIL", "did you mean 'class_volume'")}),
    ("lift", "arguments that main.py refuses"): ("lr", {"trainer": ("FAIL", "odd length")}),
    ("lift", "a wrong key"): ("reweight.tpye class_volume", {"trainer": ("FAIL", "reweight.tpye")}),
    ("lift", "unknown draws"): (f"{LIFT} sampler HardestFirst", {"sampler": ("FAIL", "HardestFirst")}),
    ("lift", "too few epochs"): (f"{LIFT} num_epochs 1", {"reweight": ("FAIL", "the run is the baseline")}),
    ("timm_train", "a run that fits"): (TIMM, {"reweight": ("ok", "min_samples 5 as loss weights, from epoch 1 on")}),
    ("timm_train", "not mixed"): (f"{TIMM} --no-prefetcher", {"step": ("ok", "[8, 4] finite logits")}),
    ("timm_train", "another dtype"): (
        f"--no-prefetcher --model-dtype bfloat16 {TIMM}", {"step": ("ok", "[8, 4] finite logits")}),
    ("timm_train", "mixed by the loader"): (f"--mixup 0.8 --bce-loss {TIMM}", {"step": ("ok", "[8, 4] finite logits")}),
    ("timm_train", "a plain run"): (
        "--smoothing 0", {"reweight": ("skip", "nothing is re-weighted"), "step": ("ok", "loss")}),
    ("timm_train", "unknown labels"): (
        f"--labels none {TIMM}", {"labels": ("FAIL", "labels are known"), "step": ("skip", "it needs")}),
    ("timm_train", "unknown labels of a plain run"): (
        "--labels none", {"labels": ("skip", "needs none"), "step": ("ok", "loss")}),
    ("timm_train", "too few epochs"): (f"{TIMM} start_epoch=3", {"reweight": ("FAIL", "never apply")}),
    ("timm_train", "a loss that is refused"): (f"--jsd-loss {TIMM}", {"reweight": ("FAIL", "no --jsd-loss")}),
    ("timm_train", "an unknown argument"): ("--learning 1", {"train.py": ("FAIL", "refused its arguments")}),
}  # fmt: skip


@pytest.mark.parametrize(("host", "case"), CASES)
def test_checks_pass_or_report_the_fault(host: str, case: str, tmp_path: Path) -> None:
    root = installed(host, tmp_path / "standin")
    if host == "lift":  # no check goes through the images
        line = "        return super().forward(image"
        edited("trainer.py", line, f"        assert len(image) <= 8, 'an extra pass'\n{line}")(root)
    arguments, expected = CASES[host, case]
    fails = any(status == "FAIL" for status, _ in expected.values())
    found = check(root, "--host-args", arguments, code=int(fails))
    assert fails or with_status(found, "FAIL") == []
    for name, (status, part) in expected.items():
        assert found[name][0] == status
        assert part in found[name][1]


def test_a_checkout_without_the_lines_is_named(tmp_path: Path) -> None:
    root = installed("lift", tmp_path / "standin")
    uninstall(root)
    assert check(root, "--host-args", LIFT, code=1)["plug-in"][0] == "FAIL"
    assert check(root, "--host-args", "loss_type CE", code=0)["plug-in"][0] == "skip"


WRONG = [
    ("lift", ["x.py"], "Expected no CONFIG for LIFT"),
    ("timm_train", ["x.py"], "Expected no CONFIG for timm"),
    ("timm_train", [], 'Expected the arguments of train.py: give --host-args "--data-dir DATA '),
    (None, [], "Expected the CONFIG of the run, such as configs/class_volume/imagenet_lt_r50_dv.py."),
]


@pytest.mark.parametrize(("host", "arguments", "message"), WRONG)
def test_a_config_or_arguments_that_the_host_does_not_take_are_refused(
    host: str | None, arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = installed(host, tmp_path / "standin") if host else tmp_path
    assert main(["check", *arguments, "--checkout", str(root)]) == 2
    assert message in capsys.readouterr().err
