"""`vlltr-plugin check` on LIFT's stand-in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hosts.lift.conftest import change

from vlltr_plugin.cli import main
from vlltr_plugin.install import uninstall

pytestmark = pytest.mark.usefixtures("forked")


def check(root: Path, arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and status and message by what was looked at."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    code = main(["check", "--checkout", str(root), "--host-args", arguments, "--json"])
    lines = json.loads(capsys.readouterr().out)["lines"]
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before  # nothing was written
    return code, {line["check"]: (line["status"], line["message"]) for line in lines}


def test_a_run_that_fits_is_fine(standin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = check(standin, "reweight.type class_volume loss_type CE", capsys)
    assert code == 0
    assert {status for status, _ in found.values()} == {"ok"}
    assert list(found) == ["plug-in", "config", "labels", "sampler", "reweight", "step"]
    assert found["labels"][1] == "227 images of 5 classes, 5 to 120 each"
    assert "2.20% to 52.86% of the draws" in found["sampler"][1]
    assert "as loss weights, from epoch [2/2] on" in found["reweight"][1]
    assert "[8, 5] finite logits" in found["step"][1]


def test_the_images_are_not_gone_through_to_measure_first(standin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line, refused = "        return super().forward(image", "        assert len(image) <= 8, 'an extra pass'\n"
    change(standin, line, refused + line)
    code, found = check(standin, "loss_type CE reweight.type class_volume reweight.measure_first True", capsys)
    assert code == 0, found
    assert "from epoch [1/2] on; with equal radii alpha runs from 0.378 to 9.08" in found["reweight"][1]


def test_a_plain_run_has_nothing_to_reweight(standin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = check(standin, "loss_type Focal", capsys)
    assert (code, found["reweight"][0], found["step"][0]) == (0, "skip", "ok")


AMISS: dict[str, tuple[str, str, str]] = {
    "a loss of another kind": ("loss_type Focal reweight.type class_volume", "reweight", "CE (class weights) or LA"),
    "a wrong type": ("reweight.type class_volum", "reweight", "did you mean 'class_volume'"),
    "arguments that main.py refuses": ("lr", "trainer", "odd length"),
    "a wrong key": ("reweight.tpye class_volume", "trainer", "reweight.tpye"),
    "a sampler of unknown draws": ("sampler HardestFirst reweight.type class_volume", "sampler", "HardestFirst"),
    "too few epochs": ("num_epochs 1 reweight.type class_volume", "reweight", "the run is the baseline"),
}


@pytest.mark.parametrize("name", AMISS)
def test_faults_are_reported(name: str, standin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, look, reason = AMISS[name]
    code, found = check(standin, arguments, capsys)
    assert code == 1
    assert found[look][0] == "FAIL"
    assert reason in found[look][1]


def test_a_checkout_without_the_lines_is_named(standin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uninstall(standin)
    code, found = check(standin, "reweight.type class_volume", capsys)
    assert (code, found["plug-in"][0]) == (1, "FAIL")
    code, found = check(standin, "loss_type CE", capsys)
    assert (code, found["plug-in"][0]) == (0, "skip")


def test_a_config_is_refused_for_lift_and_wanted_for_vl_ltr(
    standin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "x.py", "--checkout", str(standin)]) == 2
    assert "Expected no CONFIG for LIFT" in capsys.readouterr().err
    assert main(["check", "--checkout", str(tmp_path)]) == 2
    assert (
        "Expected the CONFIG of the run, such as configs/class_volume/imagenet_lt_r50_dv.py." in capsys.readouterr().err
    )
