"""Models that return more than their logits, and loops that give the same logits to the criterion twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hosts.lift.conftest import Build, Make, change
from hosts.lift.test_checks import check

from vlltr_plugin.hosts.lift.trainer import logits_of

FORWARD = "return super().forward(image.to(self.weight.dtype))"


def returns(standin: Path, output: str, loop_takes: str = "[0]") -> None:
    """Lets the stand-in's model return more than its logits, `out`, of which its loop takes a part."""
    change(standin, FORWARD, f"out = super().forward(image.to(self.weight.dtype))\n        return {output}")
    change(standin, "self.model(image)", f"self.model(image){loop_takes}")


def radii(run: Make, **options: Any) -> list[Any]:
    """Log radii after each epoch of a run."""
    folder = run(loss_type="CE", reweight_type="class_volume", **options).folder / "reweight"
    return [np.load(path)["log_radius_single"] for path in sorted(folder.iterdir())]


@pytest.mark.parametrize(
    ("output", "takes"),
    [("out, out[:, :3]", "[0]"), ("[image, out, None]", "[1]"), ("{'z': out, 'mean': out.mean()}", "['z']")],
)
@pytest.mark.parametrize("way", [{"reweight_source": "clean_pass"}, {"reweight_measure_first": True}, {}])
def test_the_one_tensor_of_logits_in_an_output_is_measured(
    output: str, takes: str, way: dict[str, Any], run: Make, standin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = radii(run, **way)
    returns(standin, output, takes)
    assert np.array_equal(alone, radii(run, **way))
    code, found = check(standin, "loss_type CE reweight.type class_volume", capsys)
    assert (code, found["step"][0]) == (0, "ok"), found


TWO = {"out, out / 5": "[0]", "{'a': out, 'b': [out.clone()]}": "['a']"}


@pytest.mark.parametrize("output", TWO)
@pytest.mark.parametrize("way", ["reweight.source clean_pass", "reweight.measure_first True"])
def test_an_output_with_two_that_may_be_the_logits_is_refused_where_it_is_measured(
    output: str, way: str, build: Build, standin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    returns(standin, output, TWO[output])
    option, value = way.replace(".", "_").split()
    with pytest.raises(ValueError, match=r"one tensor of logits \[B, 5\] but got 2 in a (tuple|dict) of \[2, 5\], \[2"):
        build(loss_type="CE", reweight_type="class_volume", **{option: value})()
    assert "epoch [" not in (tmp_path / "output" / "log.txt").read_text()
    build(loss_type="CE", reweight_type="inverse")()  # reads no logits
    capsys.readouterr()
    code, found = check(standin, f"loss_type CE reweight.type class_volume {way}", capsys)
    assert (code, found["reweight"][0]) == (1, "FAIL")
    assert "one tensor of logits" in found["reweight"][1]


@pytest.mark.parametrize("output", TWO)
def test_logits_that_the_loop_gives_to_the_criterion_stream_whatever_else_the_model_returns(
    output: str, run: Make, standin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = radii(run)
    returns(standin, output, TWO[output])
    assert np.array_equal(alone, radii(run))
    code, found = check(standin, "loss_type CE reweight.type class_volume", capsys)
    assert (code, found["reweight"][0], found["step"][0]) == (0, "ok", "skip"), found


def test_a_loop_that_makes_its_logits_of_what_the_model_returns_streams_them(
    run: Make, build: Build, standin: Path
) -> None:
    returns(standin, "(image, self)", "")
    made = "def made(output):\n    return nn.functional.linear(output[0], output[1].weight, output[1].bias)\n\n\n"
    change(standin, "self.model(image)", "made(self.model(image))")
    change(standin, "class Points(", made + "class Points(")
    assert len(run(loss_type="CE", reweight_type="class_volume").ours) == 3
    with pytest.raises(ValueError, match="but got 0 in a tuple"):
        build(loss_type="CE", reweight_type="class_volume", reweight_source="clean_pass")()


def test_the_same_tensor_twice_in_an_output_is_one() -> None:
    logits = torch.randn(4, 5)
    assert logits_of((logits, [logits], torch.arange(20).view(4, 5)), 5) is logits


MIXED = "lam * self.criterion(output, label) + (1 - lam) * self.criterion(output, label.flip(0))"


@pytest.mark.parametrize("every", [1, 4])
def test_repeated_logits_warn_once_even_if_few_batches_are_mixed(every: int, run: Make, standin: Path) -> None:
    call = "self.criterion(output, label)"
    change(standin, f"loss = {call}", f"lam = 0.7; loss = {MIXED} if batch_idx % {every} == 0 else {call}")

    def said(**options: Any) -> int:
        done = run(loss_type="CE", num_epochs=3, micro_batch_size=8, **options)
        return sum("the same logits came twice" in line for line in done.ours)

    assert said(reweight_type="class_volume") == 1
    assert said(reweight_type="class_volume", reweight_source="clean_pass") == said(reweight_type="inverse") == 0


def test_batches_seen_once_never_warn(run: Make) -> None:
    done = run(loss_type="CE", micro_batch_size=8, num_epochs=3, reweight_type="class_volume")
    assert not any("twice" in line or "warning" in line for line in done.ours)
