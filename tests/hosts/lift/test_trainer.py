"""Models that return more than their logits, in runs and in `check`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checking import check
from hosts.lift.conftest import Build, Make, change

FORWARD = "return super().forward(image.to(self.weight.dtype))"
DV = "loss_type CE reweight.type class_volume"


def returns(standin: Path, output: str, loop_takes: str = "[0]") -> None:
    """Lets the stand-in's model return more than its logits, `out`, of which its loop takes a part."""
    change(standin, FORWARD, f"out = super().forward(image.to(self.weight.dtype))\n        return {output}")
    change(standin, "self.model(image)", f"self.model(image){loop_takes}")


def radii(run: Make, **options: Any) -> np.ndarray:
    """Log radii after each of two epochs."""
    done = run(loss_type="CE", reweight_type="class_volume", **options)
    return np.stack([done.arrays(epoch)["log_radius_single"] for epoch in range(2)])


@pytest.mark.parametrize(
    ("output", "takes"),
    [("out, [out, out[:, :3]]", "[0]"), ("[image, out, None]", "[1]"), ("{'z': out, 'mean': out.mean()}", "['z']")],
)
@pytest.mark.parametrize("way", [{"reweight_source": "clean_pass"}, {"reweight_measure_first": True}, {}])
def test_the_one_tensor_of_logits_in_an_output_is_measured(
    output: str, takes: str, way: dict[str, Any], run: Make, standin: Path
) -> None:
    alone = radii(run, **way)
    returns(standin, output, takes)
    assert np.array_equal(alone, radii(run, **way))
    assert check(standin, "--host-args", DV, code=0)["step"][0] == "ok"


TWO = {"out, out / 5": "[0]", "{'a': out, 'b': [out.clone()]}": "['a']"}


@pytest.mark.parametrize("output", TWO)
def test_of_two_that_may_be_the_logits_those_of_the_criterion_stream_and_measuring_is_refused(
    output: str, run: Make, build: Build, standin: Path, tmp_path: Path
) -> None:
    alone = radii(run)
    returns(standin, output, TWO[output])
    assert np.array_equal(alone, radii(run))
    found = check(standin, "--host-args", DV, code=0)
    assert (found["reweight"][0], found["step"][0]) == ("ok", "skip")
    for option, value in (("source", "clean_pass"), ("measure_first", True)):
        train = build(loss_type="CE", reweight_type="class_volume", **{f"reweight_{option}": value})
        with pytest.raises(ValueError, match=r"one tensor of logits \[B, 5\] but got 2 in a (tuple|dict) of \[2"):
            train()
        assert "epoch [" not in (tmp_path / "output" / "log.txt").read_text()
        found = check(standin, "--host-args", f"{DV} reweight.{option} {value}", code=1)
        assert found["reweight"][0] == "FAIL"
        assert "one tensor of logits" in found["reweight"][1]
    build(loss_type="CE", reweight_type="inverse")()  # reads no logits


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
