"""`vlltr-plugin check` on the stand-in for train.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlltr_plugin.cli import main

pytestmark = pytest.mark.usefixtures("forked")

DV = "--reweight class_volume --reweight-opt min_samples=5"

CASES = {
    "a run that fits": (DV, {"reweight": ("ok", "min_samples 5 as loss weights, from epoch 1 on")}),
    "not mixed": (f"{DV} --no-prefetcher", {"step": ("ok", "[8, 4] finite logits")}),
    "another dtype": (f"--no-prefetcher --model-dtype bfloat16 {DV}", {"step": ("ok", "[8, 4] finite logits")}),
    "mixed by the loader": (f"--mixup 0.8 --bce-loss {DV}", {"step": ("ok", "[8, 4] finite logits")}),
    "a plain run": ("--smoothing 0", {"reweight": ("skip", "nothing is re-weighted"), "step": ("ok", "loss")}),
    "unknown labels": (f"--labels none {DV}", {"labels": ("FAIL", "tells the label"), "step": ("skip", "it needs")}),
    "unknown labels of a plain run": ("--labels none", {"labels": ("skip", "needs none"), "step": ("ok", "loss")}),
    "too few epochs": (f"{DV} start_epoch=3", {"reweight": ("FAIL", "never apply")}),
    "a loss that is refused": (f"--jsd-loss {DV}", {"reweight": ("FAIL", "no --jsd-loss")}),
    "an argument that is unknown": ("--learning 1", {"train.py": ("FAIL", "refused its arguments")}),
}


@pytest.mark.parametrize(("arguments", "expected"), CASES.values(), ids=CASES)
def test_checks_pass_or_report_the_fault(
    arguments: str, expected: dict[str, tuple[str, str]], checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    command = ["check", "--checkout", str(checkout), "--device", "cpu", "--host-args", arguments, "--json"]
    code = main(command)
    assert {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()} == before
    found = {line["check"]: (line["status"], line["message"]) for line in json.loads(capsys.readouterr().out)["lines"]}
    assert code == ("FAIL" in {status for status, _ in found.values()})
    for check, (status, part) in expected.items():
        assert found[check][0] == status
        assert part in found[check][1]


def test_a_config_is_refused_and_arguments_are_wanted(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "x.py", "--checkout", str(checkout)]) == 2
    assert "Expected no CONFIG for timm" in capsys.readouterr().err
    assert main(["check", "--checkout", str(checkout)]) == 2
    assert 'Expected the arguments of train.py: give --host-args "--data-dir DATA ' in capsys.readouterr().err
