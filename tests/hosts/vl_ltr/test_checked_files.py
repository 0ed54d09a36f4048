"""What `vlltr-plugin check` says about the run's folder and a checkpoint in it."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checking import check, edited, only, with_status
from hostile import Hostile

from vlltr_plugin.demo import BASELINE, CLASS_VOLUME
from vlltr_plugin.demo.standin_checkout import CONTROL

pytestmark = pytest.mark.usefixtures("forked")

SAVED = "checkpoints/digits_dv/checkpoint.pth"
GO_ON = ("--host-args", "--epochs 3")


@pytest.fixture
def begun(trained: Path, copied: Callable[[Path], Path]) -> Path:
    """A stand-in with a run of which one epoch of three is done."""
    checkout = copied(trained)
    change(checkout, lambda saved: setattr(saved["args"], "epochs", 3))
    return checkout


def change(checkout: Path, how: Callable[[dict[str, Any]], object]) -> None:
    saved = torch.load(checkout / SAVED, weights_only=False)
    how(saved)
    torch.save(saved, checkout / SAVED)


def test_a_resume_of_the_same_settings_is_fine(begun: Path) -> None:
    found = check(begun, CLASS_VOLUME, *GO_ON, code=0)
    assert found["output"] == ("ok", f"{SAVED}: resumes after 1 of 3 epochs, with the same settings")


def saved(how: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    return lambda checkout: change(checkout, how)


def nothing(checkout: Path) -> None:
    pass


SAME, DV = ("--host-args", f"--epochs 3 --resume {SAVED}"), (CLASS_VOLUME, *GO_ON)
OTHERS = saved(lambda s: vars(s["args"]).update(mixup=0.2, seed=5, device=""))
FAULTS: dict[str, tuple[Callable[[Path], object], str, tuple[str, ...]]] = {
    "epochs: saved 3, here 30": (nothing, "output", (CLASS_VOLUME,)),
    "other settings (mixup: saved 0.2, here 0.8)": (OTHERS, "output", DV),
    "min_samples: saved 2, here 30": (
        edited(CLASS_VOLUME, '"class_volume"', '"class_volume", min_samples=30'), "output", DV),
    "same expected draws": (
        edited("samplers.py", "weights, dtype=torch.double)", "weights, dtype=torch.double) ** 2"), "output", DV),
    "weights are positive": (
        saved(lambda s: s["reweight"]["weightings"]["image_text"]["weights"].fill_(-1.0)), "output", DV),
    "head.0.weight": (saved(lambda s: s["model"].pop("head.0.weight")), "output", DV),
    "rows of visual logits": (saved(lambda s: s["model"]["head.2.bias"].fill_(float("nan"))), "step", DV),
    "is of a run with re-weighting": (nothing, "output", (BASELINE, *SAME)),
    "is of a run without re-weighting": (saved(lambda s: s.pop("reweight")), "output", (CLASS_VOLUME, *SAME)),
}  # fmt: skip


@pytest.mark.parametrize("message", FAULTS)
def test_a_checkpoint_that_does_not_fit_the_run(begun: Path, message: str) -> None:
    how, check_name, arguments = FAULTS[message]
    how(begun)
    assert message in only(check(begun, *arguments, code=1), check_name)


def test_a_finished_run(trained: Path, copied: Callable[[Path], Path]) -> None:
    found = check(copied(trained), CLASS_VOLUME, "--host-args", "--epochs 1", code=1)
    assert with_status(found, "FAIL") == ["weights", "output"]
    assert "they never apply" in found["weights"][1]
    assert "has all 1 epochs" in found["output"][1]


@pytest.mark.parametrize("cut", [0, 0.5, 0.99])
def test_a_damaged_checkpoint(begun: Path, cut: float) -> None:
    whole = (begun / SAVED).read_bytes()
    (begun / SAVED).write_bytes(whole[: int(cut * len(whole))])
    assert "checkpoint.pth" in only(check(begun, CLASS_VOLUME, *GO_ON, code=1), "output")


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_hostile_pickle_is_never_run(begun: Path, tmp_path: Path, form: str) -> None:
    bait = Hostile(tmp_path / "executed")
    if form == "pickle":
        (begun / SAVED).write_bytes(pickle.dumps(bait))
    else:
        saved = torch.load(begun / SAVED, weights_only=False)
        torch.save({**saved, "extra": bait}, begun / SAVED, _use_new_zipfile_serialization=form == "zip")
    assert "could run code" in only(check(begun, CLASS_VOLUME, *GO_ON, code=1), "output")
    assert not (tmp_path / "executed").exists()
    pickle.loads(pickle.dumps(bait))
    assert (tmp_path / "executed").exists()  # the bait would have worked


@pytest.mark.parametrize("left", ["log.txt", "checkpoint_10.pth", "reweight/epoch_0003.npz"])
def test_files_of_another_run_in_the_output_folder_are_refused(checkout: Path, left: str) -> None:
    path = checkout / "checkpoints/digits_dv" / left
    path.parent.mkdir(parents=True)
    path.with_name("train.log").write_text("started\n")  # the launcher's own: still a new folder
    assert check(checkout, CLASS_VOLUME, code=0)["output"] == ("ok", "checkpoints/digits_dv: new")
    path.write_bytes(b"")
    assert f"holds {left} without one" in only(check(checkout, CLASS_VOLUME, code=1), "output")
    assert check(checkout, CONTROL, code=0)["output"] == ("ok", "checkpoints/digits_inverse: new")


def test_a_checkpoint_to_resume_from_that_is_not_there_and_a_folder_that_is_a_file(checkout: Path) -> None:
    message = only(check(checkout, CLASS_VOLUME, "--host-args", "--resume checkpoints/gone.pth", code=1), "output")
    assert "there is no checkpoints/gone.pth" in message
    (checkout / "checkpoints").mkdir(exist_ok=True)
    (checkout / "checkpoints/digits_dv").write_text("")
    assert "can be written" in only(check(checkout, CLASS_VOLUME, code=1), "output")


def test_with_missing_data_a_checkpoint_is_still_compared_as_far_as_can_be(begun: Path) -> None:
    (begun / "data/digits/val.npz").unlink()
    found = check(begun, CLASS_VOLUME, *GO_ON, code=1)
    assert only(found, "val list")
    assert found["output"] == ("skip", f"{SAVED}: the same settings; parameters and weights could not be compared yet")
