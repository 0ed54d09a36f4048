"""`vlltr-plugin check` in the demo's stand-in: all fine, then one fault at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checking import check, edited, only, with_status

from vlltr_plugin.demo import BASELINE, CLASS_VOLUME
from vlltr_plugin.demo.standin_checkout import CONTROL
from vlltr_plugin.install import install, uninstall

pytestmark = pytest.mark.usefixtures("forked")

STAGE_ONE = ["stage one", "embeddings"]  # the stand-in has none
DATA = "data/digits"


def reweight(checkout: Path, text: str) -> str:
    """A config that extends the baseline by some text."""
    path = checkout / "configs/digits/finetune/spoilt.py"
    path.write_text(f'_base_ = ["./digits_baseline.py"]\ncfg = dict({text})\n')
    return str(path.relative_to(checkout))


def test_all_is_fine(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")  # as a scheduler may set it: no process group is joined
    monkeypatch.setenv("WORLD_SIZE", "8")
    found = check(checkout, CLASS_VOLUME, code=0)
    assert with_status(found, "skip") == STAGE_ONE
    assert found["train list"][1] == "557 images"
    assert found["classes"][1] == "10 classes have training images, from 3 to 120"
    assert found["sentences"][1] == "44, 4 to 5 for each of 10 classes"
    assert "checkpoints/digits_dv: new" in found["output"][1]
    assert "2 x [8, 10] finite logits" in found["step"][1]


def test_weights_for_equal_radii_and_memory_of_the_statistics(checkout: Path) -> None:
    counts = np.bincount(np.load(checkout / DATA / "train.npz")["labels"])
    draws = np.sqrt(counts) * len(counts)  # the sampler's 1/sqrt(n)
    expected = (draws.sum() / len(counts)) / draws
    memory = 3 * 10 * 10 * 8 + 2 * 10 * 8  # sums in float64 for few classes, and masses
    found = check(checkout, CLASS_VOLUME, code=0)
    weights = f"from {expected.min():.3g} (a class of 120 images) to {expected.max():.3g} (of 3), 1 on average"
    assert weights in found["weights"][1]
    assert f"of {memory / 1000:.3g} kB on each rank" in found["memory"][1]

    letter = 'reweight=dict(type="class_volume", counts="dataset", normalize="dataset", branch="each")'
    found = check(checkout, reweight(checkout, letter), code=0)
    alpha = counts.sum() / len(counts) / counts
    mean = (draws * alpha).sum() / draws.sum()
    assert f"to {alpha.max():.3g} (of 3), {mean:.3g} on average" in found["weights"][1]
    assert f"of {2 * memory / 1000:.3g} kB on each rank" in found["memory"][1]
    assert check(checkout, CONTROL, code=0)["weights"][1].startswith(f"from {expected.min():.3g}")


def test_a_baseline_is_fine_installed_or_not(checkout: Path) -> None:
    for value in (None, False):
        found = check(checkout, reweight(checkout, f"reweight={value}"), code=0)
        assert found["reweight"] == ("skip", "the config asks for no `reweight`: nothing is re-weighted")
    left_out = [*STAGE_ONE, "reweight", "weights", "memory"]
    assert with_status(check(checkout, BASELINE, code=0), "skip") == left_out
    uninstall(checkout)
    assert with_status(check(checkout, BASELINE, code=0), "skip") == ["plug-in", *left_out]
    found = check(checkout, CLASS_VOLUME, code=1)
    assert "not installed" in only(found, "plug-in")
    assert with_status(found, "skip") == STAGE_ONE


def test_the_script_with_the_lines_runs_whatever_its_name(checkout: Path) -> None:
    uninstall(checkout)
    script = (checkout / "main.py").read_text()
    (checkout / "main_dist.py").write_text(script)
    (checkout / "main.py").write_text(f'raise RuntimeError("the usual script")\n{script}')
    install(checkout, files=["main_dist.py"])
    assert with_status(check(checkout, CLASS_VOLUME, code=0), "skip") == STAGE_ONE


def changed(name: str, how: Callable[[Any], Any]) -> Callable[[Path], None]:
    """A function that changes an array, or arrays by name, in the stand-in's data."""

    def change(checkout: Path) -> None:
        path = checkout / DATA / name
        loaded = np.load(path)
        value = how(dict(loaded) if path.suffix == ".npz" else loaded)
        np.savez(path, **value) if path.suffix == ".npz" else np.save(path, value)

    return change


def put(array: Any, index: Any, value: float) -> Any:
    array[index] = value
    return array


READ, HEAD = "return self.pipeline(self.images[index])", "visual: Tensor = self.head(x)"
UNREADABLE = f"if len(self) == 180 and index > 100:\n            raise OSError(f'{{index}}.png is cut')\n        {READ}"
DV = 'type="class_volume"'


def config(text: str) -> Callable[[Path], list[str]]:
    return lambda checkout: [reweight(checkout, text)]


FAULTS: dict[tuple[str, str], Callable[[Path], list[str] | None]] = {
    ("val list", "val.npz"): lambda checkout: (checkout / DATA / "val.npz").unlink(),
    ("train list", "one batch of 600"): edited(BASELINE, "batch_size=32", "batch_size=600"),
    ("images", "14 of 96 images tried cannot be read; the first: 101.png"): edited("datasets.py", READ, UNREADABLE),
    ("classes", "0..8 (9 classes) but found 9"): changed("sentence_counts.npy", lambda counts: counts[:9]),
    ("classes", "In the val set"): changed("val.npz", lambda arrays: arrays | {"labels": put(arrays["labels"], 7, 11)}),
    ("sentences", "1 have none (3)"): changed("sentence_counts.npy", lambda counts: put(counts, 3, 0)),
    ("training", "optim_factory.py, line"): edited(
        "optim_factory.py", '    """Return', '    assert 1 > 2\n    """Return'
    ),
    ("reweight", "draws with replacement"): edited(
        "samplers.py", "self.replacement = replacement", "self.replacement = False"
    ),
    ("step", "make `two_branch` in the"): edited(
        "models/finetune.py", "two_branch=args.two_branch", "two_branch=False"
    ),
    ("step", "the model gives [[8, 9], [8, 10]]"): edited("models/finetune.py", HEAD, f"{HEAD}[:, 1:]"),
    ("step", "8 of 8 rows of image-text logits"): changed("text_embeddings.npy", lambda a: put(a, (4, 0, 0), np.nan)),
    ("config", "eval"): lambda checkout: [CLASS_VOLUME, "--host-args=--eval"],
    ("config", "debug"): lambda checkout: [CLASS_VOLUME, "--host-args=--debug"],
    ("reweight", "did you mean 'class_volume'?"): config('reweight=dict(type="class_volumes")'),
    ("reweight", "memory_limit"): config(f'reweight=dict({DV}, variant="pv", memory_limit=100)'),
    ("reweight", "'reweigth': was that meant?"): config(f"reweigth=dict({DV})"),
    ("reweight", "'re_weight': was that meant?"): config(f"reweight=None, re_weight=dict({DV})"),
    ("weights", "never apply, and the run is the baseline"): config(f"reweight=dict({DV}, start_epoch=30)"),
}


@pytest.mark.parametrize(("name", "message"), FAULTS)
def test_each_fault_fails_its_own_check(checkout: Path, name: str, message: str) -> None:
    arguments = FAULTS[name, message](checkout) or [CLASS_VOLUME]
    found = check(checkout, *arguments, code=1)
    assert message in only(found, name)
    assert name != "val list" or "it needs val list" in found["model"][1]
    assert name != "training" or "AssertionError: optim_factory.py, line" in found[name][1]
    assert arguments[0] == CLASS_VOLUME or found["step"][0] == "ok"  # a mistake in the config alone


def test_a_mistake_in_the_config_is_found_even_where_data_are_missing(checkout: Path) -> None:
    (checkout / DATA / "train.npz").unlink()
    found = check(checkout, reweight(checkout, 'reweight=dict(type="class_volumes")'), code=1)
    assert with_status(found, "FAIL") == ["train list", "reweight"]


def test_too_little_memory(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlltr_plugin.hosts.vl_ltr.checks.free_memory", lambda device: 3000)
    assert "3 kB free" in only(check(checkout, CLASS_VOLUME, code=1), "memory")


def test_a_class_that_is_tested_but_not_trained_is_named(checkout: Path) -> None:
    changed("train.npz", lambda arrays: {key: array[arrays["labels"] != 9] for key, array in arrays.items()})(checkout)
    message = check(checkout, CLASS_VOLUME, code=0)["classes"][1]
    assert message.startswith("9 of 10 classes have training images")
    assert "val has images of 1 classes that are not trained (9)" in message


def test_a_baseline_in_a_checkout_with_half_the_plugin(checkout: Path) -> None:
    lines = (checkout / "main.py").read_text().splitlines(keepends=True)
    (checkout / "main.py").write_text("".join(line for line in lines if "begin_epoch(epoch)" not in line))
    assert "partly installed" in only(check(checkout, BASELINE, code=1), "plug-in")


def test_a_main_that_never_calls_attach_is_stopped_before_it_trains(checkout: Path, tmp_path: Path) -> None:
    mark = tmp_path / "trained"
    step = "loss_scaler(loss, optimizer, clip_grad=max_norm or None, parameters=model.parameters())\n"
    edited("engine.py", step, f"{step}        open({str(mark)!r}, 'w').close()\n")(checkout)
    hijack = "    import vlltr_plugin\n    vlltr_plugin.attach = lambda *_, **__: vlltr_plugin.training.hook.Hook()\n"
    edited("optim_factory.py", '    """Return', f'{hijack}    """Return')(checkout)
    assert "without calling the plug-in's `attach`" in only(check(checkout, BASELINE, code=1), "training")
    assert not mark.exists()


FORWARD = "def forward(self, inputs: Tensor, outputs: Tensor, labels: Tensor)"


@pytest.mark.parametrize("config", [BASELINE, CLASS_VOLUME])
@pytest.mark.parametrize("more", [", epoch: int", ", *, epoch: int", ", epoch: int = 0", ", *args: int"])
def test_a_fork_whose_criterion_takes_a_fourth_argument_is_fine(checkout: Path, config: str, more: str) -> None:
    """Its loop gives the argument, which nothing but the loop knows."""
    edited("losses.py", FORWARD, FORWARD.replace(")", f"{more})"))(checkout)
    step = check(checkout, config, code=0)["step"][1]
    assert step.startswith("8 images give 2 x [8, 10] finite logits, loss")
    of_base = "(of the base criterion; of DistillationLoss, missing a required" in step
    assert of_base == (more in (", epoch: int", ", *, epoch: int"))


FORKS = {
    "only the host's own loop can call its criterion: missing a required ": [
        edited("losses.py", FORWARD, FORWARD.replace(")", ", epoch: int)")),
        edited("losses.py", "self.base_criterion = base_criterion", "self.base = base_criterion"),
        edited("losses.py", "self.base_criterion(", "self.base("),
    ],
    "only the host's own loop can call its model: missing a required argument: 'epoch'": [
        edited("models/finetune.py", "(self, images: Tensor) ->", "(self, images: Tensor, epoch: int) ->")
    ],
    "finite logits, loss": [edited("losses.py", "return loss", "return loss, loss.detach()")],
}


@pytest.mark.parametrize("message", FORKS)
def test_a_fork_with_other_calls_is_fine(checkout: Path, message: str) -> None:
    for edit in FORKS[message]:
        edit(checkout)
    found = check(checkout, BASELINE, code=0)["step"]
    assert found[0] == ("skip" if "model" in message else "ok")
    assert message in found[1]
    assert ("finite logits" in found[1]) == (found[0] == "ok")


WRONG = {
    "no file missing.py": ["missing.py"],
    "own parser refused": [CLASS_VOLUME, "--host-args", "--no-such-option 3"],
    "as in a shell": [CLASS_VOLUME, "--host-args", "'open"],
    "Expected a device of this machine but got 'toaster'": [CLASS_VOLUME, "--device", "toaster"],
    "pre-training stage": ["configs/stage1.py"],
    "has no main.py": [CLASS_VOLUME],
}


@pytest.mark.parametrize("message", WRONG)
def test_a_user_error_is_one_line(checkout: Path, capsys: pytest.CaptureFixture[str], message: str) -> None:
    (checkout / "configs/stage1.py").write_text("cfg = dict(pretrain_cvlp=True)\n")
    if message == "has no main.py":
        (checkout / "main.py").unlink()
    check(checkout, *WRONG[message], code=2)
    error = capsys.readouterr().err
    assert error.startswith("vlltr-plugin: error: ")
    assert message in error
    assert error.count("\n") == 1
