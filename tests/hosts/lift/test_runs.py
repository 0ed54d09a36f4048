"""Runs of LIFT's stand-in: what they print, what they leave, what they refuse."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hosts.lift.conftest import Build, Make, change
from hosts.standins import copy_of
from hosts.standins import standin as original

DV = {"loss_type": "CE", "reweight_type": "class_volume"}


def reweight(**options: Any) -> dict[str, Any]:
    return {f"reweight_{key}": value for key, value in options.items()}


def in_its_own_process(root: Path, *options: str) -> list[str]:
    command = [sys.executable, "main.py", *options]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("loss_type", ["CE", "LA", "Focal"])
def test_without_a_type_every_line_is_the_plain_runs(loss_type: str, run: Make, tmp_path: Path) -> None:
    root = copy_of(original("lift"), tmp_path / "plain")
    plain = in_its_own_process(root, "output_dir", str(tmp_path / "output"), "loss_type", loss_type)
    again = run(loss_type=loss_type)
    assert again.lines[again.lines.index("************") :] == plain[plain.index("************") :]
    assert not (again.folder / "reweight").exists()
    assert run(loss_type=loss_type, reweight_type=None).losses == again.losses


WAYS: list[dict[str, Any]] = [
    *({"loss_type": loss, **more} for loss in ("CE", "LA") for more in ({}, reweight(variant="bv"))),
    {"loss_type": "CE", **reweight(source="clean_pass")},
    *({"prec": prec, "parallel": parallel, **reweight(source="clean_pass")}
      for prec in ("fp32", "amp", "fp16") for parallel in (False, True)),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_with_class_volume_the_first_epoch_is_the_plain_runs(way: dict[str, Any], run: Make) -> None:
    plain = run(**{key: value for key, value in way.items() if not key.startswith("reweight_")}).losses
    weighted = run(reweight_type="class_volume", **way)
    assert weighted.losses[1] == plain[1]
    assert all(a != b for a, b in zip(weighted.losses[2], plain[2], strict=True))
    weights = weighted.arrays()["weights_single"]
    assert np.isfinite(weights).all()
    assert weights.max() > 2


def test_inverse_frequency_as_margins_is_the_hosts_own_loss(run: Make) -> None:
    plain, inverse = run().losses, run(reweight_type="inverse").losses
    for epoch in (1, 2):
        assert np.allclose(np.array(plain[epoch], float), np.array(inverse[epoch], float), atol=1e-3)
    assert run(reweight_type="none").losses == plain


def test_gradient_accumulation_gives_the_weights_of_the_undivided_batch(run: Make) -> None:
    one, other = (run(dropout=0.0, micro_batch_size=size, **DV).arrays()["weights_single"] for size in (8, 32))
    assert np.allclose(one, other, rtol=1e-4)


def test_an_epochs_statistics_are_one_line_scalars_and_arrays(run: Make) -> None:
    done = run(num_epochs=3, **DV)
    first, *epochs = done.ours
    assert "class_volume as loss weights" in first
    assert "from epoch [2/3] on" in first
    assert [line.split()[2] for line in epochs] == ["[1/3]", "[2/3]", "[3/3]"]
    words = epochs[1].split()[3:]
    printed = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    last_step = 2 * len(done.trainer.train_loader) - 1
    for name, value in printed.items():
        assert done.trainer._writer.scalars[f"train/{name}", last_step] == pytest.approx(value, rel=1e-4)
    assert printed["reweight_expected_alpha"] == pytest.approx(1.0, abs=1e-5)
    arrays = done.arrays()
    assert arrays["weights_single"].max() == pytest.approx(printed["reweight_alpha_max"], rel=1e-4)
    assert arrays["counts"].tolist() == arrays["drawn"].tolist() == [120, 60, 30, 12, 5]
    assert len(list((done.folder / "reweight").iterdir())) == 3


def test_keys_without_a_type_are_named_and_change_nothing(run: Make) -> None:
    done = run(reweight_tau=2.0, reweight_min_samples=30)
    assert done.losses == run().losses
    message = "there is reweight.tau, reweight.min_samples but no reweight.type: nothing is re-weighted."
    assert done.ours == [f"[vlltr-plugin] {message}"]


def test_margins_in_the_place_of_ce_are_la_from_the_first_step_on(run: Make) -> None:
    margins = run(reweight_form="logit_adjustment", **DV).losses
    assert margins == run(loss_type="LA", reweight_type="class_volume").losses
    assert margins[1] == run(loss_type="LA").losses[1]


@pytest.mark.parametrize("options", [{"start_epoch": 2}, {"source": "clean_pass", "every": 2}])
def test_weights_that_never_apply_are_warned_of(options: dict[str, Any], run: Make) -> None:
    done = run(reweight_type="class_volume", **reweight(**options))
    assert "warning" in done.ours[0]
    assert done.losses == run().losses


def test_all_keys_come_from_yaml_as_from_the_command_line(run: Make, standin: Path, tmp_path: Path) -> None:
    options = {"type": "class_volume", "variant": "bv", "min_samples": 6, "normalize": "mean", "counts": "dataset",
               "start_epoch": 1, "debias": True, "assign": "mass", "source": "clean_pass", "every": 1,
               "branch": "single", "form": "logit_adjustment", "tau": 1.5, "memory_limit": 10**6}  # fmt: skip
    by_hand = run(loss_type="CE", **reweight(**options))
    lines = "".join(f"  {key}: {value}\n" for key, value in options.items())
    (standin / "data.yaml").write_text(f"reweight:\n{lines}loss_type: CE\n")
    printed = in_its_own_process(standin, "-d", "data.yaml", "output_dir", str(tmp_path / "yaml"))
    one, other = ([line for line in lines if line.startswith("epoch")] for lines in (printed, by_hand.lines))
    assert one == other
    found = np.load(tmp_path / "yaml" / "reweight" / "epoch_0001.npz")["weights_single"]
    assert np.array_equal(found, by_hand.arrays()["weights_single"])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another loss": ({"loss_type": "Focal"}, r"loss_type CE .* or LA .* but got 'Focal'"),
    "unknown type": (reweight(type="class_volum"), "did you mean 'class_volume'"),
    "unknown key": (reweight(varaint="bv"), "Non-existent key: reweight.varaint"),
    "a key of another type": (reweight(beta=0.9), "but got 'beta'"),
    "a wrong variant": (reweight(variant="av"), "variant to be one of"),
    "a word for a number": (reweight(start_epoch="late"), "start_epoch to be a whole number"),
    "a word for beta": (reweight(type="effective_number", beta="big"), "beta"),
    "a word for tau": (reweight(tau="big"), "tau to be a finite number"),
    "a word for a switch": (reweight(measure_first="yes"), r"measure_first to be one of False, True"),
    "tau of weights": ({"loss_type": "CE", "reweight_tau": 1.5}, "reweight.tau with reweight.form logit_adjustment"),
    "weights on margins": (reweight(form="loss_weight"), "reweight.form with loss_type LA"),
    "an unknown form": ({"loss_type": "CE", "reweight_form": "x"}, "'loss_weight', 'logit_adjustment'"),
    "a branch": (reweight(branch="visual"), "no branch for a model with a single output"),
    "measured first and deferred": (reweight(measure_first=True, start_epoch=1), "start_epoch 0"),
    "measured first of counts": (reweight(type="inverse", measure_first=True), "reads logits only"),
    "a sampler of unknown draws": ({"sampler": "HardestFirst"}, "HardestFirst"),
    "a clean pass of counts": (reweight(type="inverse", source="clean_pass"), "clean_pass"),
}


@pytest.mark.parametrize(("options", "reason"), REFUSED.values(), ids=REFUSED)
def test_runs_that_cannot_be_reweighted_are_refused_before_training(
    options: dict[str, Any], reason: str, build: Build, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, AssertionError), match=reason):
        build(**{"reweight_type": "class_volume", **options})()
    assert not (tmp_path / "output" / "reweight").exists()
    log = tmp_path / "output" / "log.txt"
    assert not log.exists() or "epoch [" not in log.read_text()


@pytest.mark.parametrize("sampler", ["ClassAwareSampler", "ReSampler", "DownSampler"])
def test_the_hosts_samplers_draw_as_expected(sampler: str, run: Make) -> None:
    done = run(sampler=sampler, num_epochs=40, lr=0.01, **DV)
    arrays = [done.arrays(epoch) for epoch in range(40)]
    drawn, draws = sum(a["drawn"] for a in arrays), arrays[0]["draws"]
    assert np.allclose(drawn / drawn.sum(), draws / draws.sum(), atol=0.02)
    assert (arrays[-1]["weights_single"] * draws).sum() / draws.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("counts", [(120, 60, 0, 12, 5), (120, 60, 30, 12, 0)])
@pytest.mark.parametrize("loss_type", ["CE", "LA"])
def test_classes_without_images_keep_weight_1_or_the_largest_margin(
    counts: tuple[int, ...], loss_type: str, run: Make
) -> None:
    done = run(counts=counts, loss_type=loss_type, reweight_type="class_volume")
    weights, others = done.arrays()["weights_single"], np.array(counts) > 0
    assert weights[~others] == (1 if loss_type == "CE" else weights[others].max())
    assert (weights[others] != 1).all()
    assert any("no samples" in line for line in done.ours)
    assert run(counts=counts, loss_type=loss_type).losses[1] == done.losses[1]


def lines_with(words: str, run: Make, **options: Any) -> list[str]:
    """The plug-in's lines with some words in three epochs of class volume."""
    return [line for line in run(**{**DV, "num_epochs": 3, **options}).ours if words in line]


def test_a_data_set_that_draws_by_itself_is_named_once(run: Make, standin: Path) -> None:
    words = "do not match class_counts"
    assert lines_with(words, run) == []
    own_draw = "index = self.labels.index(int(torch.randint(self.num_classes, ())))"
    change(standin, "        return self.data[index]", f"        {own_draw}\n        return self.data[index]")
    (said,) = lines_with(f"{words} (or draws): class 4", run)
    assert "after the sampler" in said
    assert lines_with(words, run, reweight_type="none") == []


CALL = "self.criterion(output, label)"
OTHER, HALF, THIRD = (f"{CALL} + self.criterion(output{part} / 5, label{part})" for part in ("", "[::2]", "[::3]"))
MIXED = f"0.7 * {CALL} + 0.3 * self.criterion(output, label.flip(0))"
SEVERAL, TWICE = "logits in an epoch of 227 images", "the same logits came twice"
CLEAN, INVERSE = reweight(source="clean_pass"), reweight(type="inverse")
CALLS = {
    "two outputs": (SEVERAL, OTHER, [({}, 1), (CLEAN, 0), (INVERSE, 0)]),
    "half of a second one": (SEVERAL, HALF, [({}, 1)]),
    "a third of a second one": (SEVERAL, THIRD, [({}, 0)]),
    "the same twice": (TWICE, MIXED, [({}, 1), (CLEAN, 0), (INVERSE, 0)]),
    "in few batches": (TWICE, f"{MIXED} if batch_idx % 4 == 0 else {CALL}", [({}, 1), (CLEAN, 0), (INVERSE, 0)]),
    "once": ("warning", CALL, [({}, 0)]),
}


@pytest.mark.parametrize(("words", "calls", "runs"), CALLS.values(), ids=CALLS)
def test_a_loop_that_calls_the_criterion_several_times_a_batch_is_warned_once(
    words: str, calls: str, runs: list[tuple[dict[str, Any], int]], run: Make, standin: Path
) -> None:
    change(standin, CALL, calls)
    for options, named in runs:
        assert len(lines_with(words, run, micro_batch_size=8, **options)) == named


OWN_TRAIN = """

class Other(Trainer):
    def train(self):
        for image, label in self.train_loader:
            self.criterion(self.model(image), label).backward()
            self.optim.step()
"""


@pytest.mark.parametrize("way", ["reverted", "subclass", "a copy of the config"])
def test_a_type_without_attach_is_refused_at_the_first_step(way: str, build: Build, standin: Path) -> None:
    trainer = standin / "trainer.py"
    if way == "reverted":
        lines = trainer.read_text().splitlines(True)
        trainer.write_text("".join(line for line in lines if "# vlltr-plugin" not in line))
    else:
        trainer.write_text(trainer.read_text() + OWN_TRAIN)
        change(standin, "import Trainer", "import Other as Trainer", "main.py")
    if way == "a copy of the config":
        change(standin, "import _C as cfg", "import _C\n\ncfg = _C.clone()", "main.py")
    place = r"trainer\.py, line \d+, makes a step without it"
    with pytest.raises(ValueError, match=rf"reweight\.type is 'class_volume', but .*{place}"):
        build(reweight_type="class_volume")()
    build()()  # the plain run trains


def test_attach_ends_the_waiting_for_all_later_optimizers(run: Make, build: Build) -> None:
    run(reweight_type="class_volume", num_epochs=1)
    run(num_epochs=1)
    build(reweight_type="class_volume", num_epochs=1)()
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    torch.optim.SGD([weight], 0.5).step()
    assert float(weight) == 0.5
