"""Runs of LIFT's stand-in: what they print, what they leave, what they refuse."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hosts.lift.conftest import STANDIN, Build, Make, change


def plain_lines(tmp_path: Path, *options: str) -> list[str]:
    """What the stand-in prints in a process of its own, without the plug-in."""
    root = shutil.copytree(STANDIN, tmp_path / "plain")
    command = [sys.executable, "main.py", "output_dir", str(tmp_path / "output"), *options]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()


def without_config(lines: list[str]) -> list[str]:
    return lines[lines.index("************") :]


@pytest.mark.parametrize("loss_type", ["CE", "LA", "Focal"])
def test_without_a_type_every_line_is_the_plain_runs(loss_type: str, run: Make, tmp_path: Path) -> None:
    plain = plain_lines(tmp_path, "loss_type", loss_type)
    again = run(loss_type=loss_type)
    assert without_config(again.lines) == without_config(plain)
    assert not (again.folder / "reweight").exists()
    assert run(loss_type=loss_type, reweight_type=None).losses == again.losses


@pytest.mark.parametrize("loss_type", ["CE", "LA"])
@pytest.mark.parametrize("options", [{}, {"variant": "bv"}, {"source": "clean_pass"}])
def test_with_class_volume_the_first_epoch_is_the_plain_runs(loss_type: str, options: Any, run: Make) -> None:
    plain = run(loss_type=loss_type).losses
    weighted = run(
        loss_type=loss_type, reweight_type="class_volume", **{f"reweight_{k}": v for k, v in options.items()}
    ).losses
    assert weighted[1] == plain[1]
    assert all(a != b for a, b in zip(weighted[2], plain[2], strict=True))


@pytest.mark.parametrize("prec", ["fp32", "amp", "fp16"])
@pytest.mark.parametrize("parallel", [False, True])
def test_any_precision_and_data_parallel(prec: str, parallel: bool, run: Make) -> None:
    plain = run(prec=prec, parallel=parallel).losses
    weighted = run(prec=prec, parallel=parallel, reweight_type="class_volume", reweight_source="clean_pass")
    assert weighted.losses[1] == plain[1]
    assert weighted.losses[2] != plain[2]
    weights = np.load(weighted.folder / "reweight" / "epoch_0001.npz")["weights_single"]
    assert np.isfinite(weights).all()
    assert weights.max() > 2


def test_inverse_frequency_as_margins_is_the_hosts_own_loss(run: Make) -> None:
    plain, inverse = run().losses, run(reweight_type="inverse").losses
    for epoch in (1, 2):
        assert np.allclose(np.array(plain[epoch], float), np.array(inverse[epoch], float), atol=1e-3)
    assert run(reweight_type="none").losses == plain


def test_gradient_accumulation_gives_the_weights_of_the_undivided_batch(run: Make) -> None:
    def weights(micro: int) -> np.ndarray:
        done = run(loss_type="CE", dropout=0.0, micro_batch_size=micro, reweight_type="class_volume")
        return np.load(done.folder / "reweight" / "epoch_0001.npz")["weights_single"]

    assert np.allclose(weights(8), weights(32), rtol=1e-4)


def test_an_epochs_statistics_are_one_line_scalars_and_arrays(run: Make) -> None:
    done = run(loss_type="CE", reweight_type="class_volume", num_epochs=3)
    first, *epochs = done.ours
    assert "class_volume as loss weights" in first
    assert "from epoch [2/3] on" in first
    assert [line.split()[2] for line in epochs] == ["[1/3]", "[2/3]", "[3/3]"]
    words = epochs[1].split()[3:]
    printed = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    steps = len(done.trainer.train_loader)
    scalars = done.trainer._writer.scalars
    for name, value in printed.items():
        assert scalars[f"train/{name}", 2 * steps - 1] == pytest.approx(value, rel=1e-4)
    assert printed["reweight_expected_alpha"] == pytest.approx(1.0, abs=1e-5)
    arrays = np.load(done.folder / "reweight" / "epoch_0001.npz")
    assert arrays["weights_single"].max() == pytest.approx(printed["reweight_alpha_max"], rel=1e-4)
    assert arrays["counts"].tolist() == [120, 60, 30, 12, 5]
    assert arrays["drawn"].tolist() == [120, 60, 30, 12, 5]
    assert len(list((done.folder / "reweight").iterdir())) == 3


def test_measured_first_the_weights_apply_from_the_first_epoch(run: Make, build: Build) -> None:
    done = run(loss_type="CE", reweight_type="class_volume", reweight_measure_first=True)
    assert "from epoch [1/2] on" in done.ours[0]
    arrays = np.load(done.folder / "reweight" / "epoch_0000.npz")
    assert arrays["weights_single"].max() > 2
    assert done.losses[1] != run(loss_type="CE").losses[1]


def test_keys_without_a_type_are_named_and_change_nothing(run: Make) -> None:
    plain = run().losses
    done = run(reweight_tau=2.0, reweight_min_samples=30)
    assert done.losses == plain
    assert done.ours == [
        "[vlltr-plugin] there is reweight.tau, reweight.min_samples but no reweight.type: nothing is re-weighted."
    ]


def test_margins_in_the_place_of_ce_are_la_from_the_first_step_on(run: Make) -> None:
    options = {"reweight_type": "class_volume", "reweight_form": "logit_adjustment"}
    assert run(loss_type="CE", **options).losses == run(loss_type="LA", reweight_type="class_volume").losses
    assert run(loss_type="CE", **options).losses[1] == run(loss_type="LA").losses[1]


@pytest.mark.parametrize("options", [{"start_epoch": 2}, {"source": "clean_pass", "every": 2}])
def test_weights_that_never_apply_are_warned_of(options: dict[str, Any], run: Make) -> None:
    done = run(reweight_type="class_volume", **{f"reweight_{key}": value for key, value in options.items()})
    assert "warning" in done.ours[0]
    assert done.losses == run().losses


def test_all_keys_come_from_yaml_as_from_the_command_line(
    run: Make, build: Build, standin: Path, tmp_path: Path
) -> None:
    options = {"type": "class_volume", "variant": "bv", "min_samples": 6, "normalize": "mean", "counts": "dataset",
               "start_epoch": 1, "debias": True, "assign": "mass", "source": "clean_pass", "every": 1,
               "branch": "single", "form": "logit_adjustment", "tau": 1.5, "memory_limit": 10**6}  # fmt: skip
    by_hand = run(loss_type="CE", **{f"reweight_{key}": value for key, value in options.items()})
    lines = "".join(f"  {key}: {value}\n" for key, value in options.items())
    (standin / "data.yaml").write_text(f"reweight:\n{lines}loss_type: CE\n")
    command = [sys.executable, "main.py", "-d", "data.yaml", "output_dir", str(tmp_path / "yaml")]
    done = subprocess.run(command, cwd=standin, capture_output=True, text=True, check=True)
    printed = [line for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert printed == [line for line in by_hand.lines if line.startswith("epoch")]
    both = [
        np.load(folder / "reweight" / "epoch_0001.npz")["weights_single"]
        for folder in (by_hand.folder, tmp_path / "yaml")
    ]
    assert np.array_equal(*both)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another loss": ({"loss_type": "Focal"}, r"loss_type CE .* or LA .* but got 'Focal'"),
    "unknown type": ({"reweight_type": "class_volum"}, "did you mean 'class_volume'"),
    "unknown key": ({"reweight_varaint": "bv"}, "Non-existent key: reweight.varaint"),
    "a key of another type": ({"reweight_beta": 0.9}, "but got 'beta'"),
    "a wrong variant": ({"reweight_variant": "av"}, "variant to be one of"),
    "a word for a number": ({"reweight_start_epoch": "late"}, "start_epoch to be a whole number"),
    "a word for beta": ({"reweight_type": "effective_number", "reweight_beta": "big"}, "beta"),
    "a word for tau": ({"reweight_tau": "big"}, "tau to be a finite number"),
    "a word for a switch": ({"reweight_measure_first": "yes"}, r"measure_first to be one of False, True"),
    "tau of weights": ({"loss_type": "CE", "reweight_tau": 1.5}, "reweight.tau with reweight.form logit_adjustment"),
    "weights on margins": ({"reweight_form": "loss_weight"}, "reweight.form with loss_type LA"),
    "an unknown form": ({"loss_type": "CE", "reweight_form": "x"}, "'loss_weight', 'logit_adjustment'"),
    "a branch": ({"reweight_branch": "visual"}, "no branch for a model with a single output"),
    "measured first and deferred": ({"reweight_measure_first": True, "reweight_start_epoch": 1}, "start_epoch 0"),
    "measured first of counts": ({"reweight_type": "inverse", "reweight_measure_first": True}, "reads logits only"),
    "a sampler of unknown draws": ({"sampler": "HardestFirst"}, "HardestFirst"),
    "a clean pass of counts": ({"reweight_type": "inverse", "reweight_source": "clean_pass"}, "clean_pass"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_runs_that_cannot_be_reweighted_are_refused_before_training(name: str, build: Build, tmp_path: Path) -> None:
    options, reason = REFUSED[name]
    with pytest.raises((ValueError, AssertionError), match=reason):
        build(**{"reweight_type": "class_volume", **options})()
    assert not (tmp_path / "output" / "reweight").exists()
    log = tmp_path / "output" / "log.txt"
    assert not log.exists() or "epoch [" not in log.read_text()


def test_an_unknown_key_in_yaml_is_named(standin: Path) -> None:
    (standin / "data.yaml").write_text("reweight:\n  tpye: class_volume\n")
    done = subprocess.run([sys.executable, "main.py", "-d", "data.yaml"], cwd=standin, capture_output=True, text=True)
    assert done.returncode
    assert "reweight.tpye" in done.stderr


@pytest.mark.parametrize("sampler", ["ClassAwareSampler", "ReSampler", "DownSampler"])
def test_the_hosts_samplers_draw_as_expected(sampler: str, run: Make) -> None:
    done = run(loss_type="CE", sampler=sampler, num_epochs=40, reweight_type="class_volume", lr=0.01)
    arrays = [np.load(path) for path in sorted((done.folder / "reweight").iterdir())]
    drawn, draws = sum(a["drawn"] for a in arrays), arrays[0]["draws"]
    assert np.allclose(drawn / drawn.sum(), draws / draws.sum(), atol=0.02)
    assert (arrays[-1]["weights_single"] * draws).sum() / draws.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("counts", ["(120, 60, 0, 12, 5)", "(120, 60, 30, 12, 0)"])
@pytest.mark.parametrize("loss_type", ["CE", "LA"])
def test_classes_without_images_keep_weight_1_or_the_largest_margin(counts: str, loss_type: str, run: Make) -> None:
    done = run(counts=counts, loss_type=loss_type, reweight_type="class_volume")
    weights = np.load(done.folder / "reweight" / "epoch_0001.npz")["weights_single"]
    others = np.array(eval(counts)) > 0
    assert weights[~others] == (1 if loss_type == "CE" else weights[others].max())
    assert (weights[others] != 1).all()
    assert any("no samples" in line for line in done.ours)
    assert run(counts=counts, loss_type=loss_type).losses[1] == done.losses[1]


def test_a_data_set_that_draws_by_itself_is_named_once(run: Make, standin: Path) -> None:
    fits = run(loss_type="CE", reweight_type="class_volume", num_epochs=3)
    assert not any("do not match class_counts" in line for line in fits.ours)
    own_draw = "index = self.labels.index(int(torch.randint(self.num_classes, ())))"
    change(standin, "        return self.data[index]", f"        {own_draw}\n        return self.data[index]")
    done = run(loss_type="CE", reweight_type="class_volume", num_epochs=3)
    (said,) = [line for line in done.ours if "do not match class_counts (or draws): class 4" in line]
    assert "after the sampler" in said
    plain = run(loss_type="CE", reweight_type="none", num_epochs=3)
    assert not any("do not match class_counts" in line for line in plain.ours)


SEVERAL = {
    "two outputs": ("self.criterion(output / 5, label)", {}, 1),
    "two outputs, radii of the model's": ("self.criterion(output / 5, label)", {"reweight_source": "clean_pass"}, 0),
    "two outputs, no radii": ("self.criterion(output / 5, label)", {"reweight_type": "inverse"}, 0),
    "half of a second one": ("self.criterion(output[::2] / 5, label[::2])", {}, 1),
    "a third of a second one": ("self.criterion(output[::3] / 5, label[::3])", {}, 0),
}


@pytest.mark.parametrize(("added", "options", "named"), SEVERAL.values(), ids=SEVERAL)
def test_several_outputs_in_one_statistic_warn_once(
    added: str, options: dict[str, Any], named: int, run: Make, standin: Path
) -> None:
    change(standin, "self.criterion(output, label)", f"self.criterion(output, label) + {added}")
    done = run(**{"loss_type": "CE", "num_epochs": 3, "reweight_type": "class_volume", **options})
    assert len([line for line in done.ours if "logits in an epoch of 227 images" in line]) == named
