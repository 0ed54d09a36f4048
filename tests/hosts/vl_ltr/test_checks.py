"""`vlltr-plugin check` in the demo's stand-in: all fine, then one fault at a time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checking import check, only, skipped

from vlltr_plugin.demo import BASELINE, CLASS_VOLUME
from vlltr_plugin.demo.standin_checkout import CONTROL
from vlltr_plugin.install import uninstall

pytestmark = pytest.mark.usefixtures("forked")

STAGE_ONE = ["stage one", "embeddings"]  # the stand-in has none
DATA = "data/digits"
ALL = [
    *("config", "plug-in", "train list", "val list", "test list", "images", "classes", "sentences", *STAGE_ONE),
    *("model", "training", "reweight", "weights", "memory", "output", "step"),
]


def reweight(checkout: Path, text: str) -> str:
    """A config that extends the baseline by some text."""
    path = checkout / "configs/digits/finetune/spoilt.py"
    path.write_text(f'_base_ = ["./digits_baseline.py"]\ncfg = dict({text})\n')
    return str(path.relative_to(checkout))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_all_is_fine(checkout: Path) -> None:
    found = check(checkout, CLASS_VOLUME, code=0)
    assert list(found) == ALL
    assert skipped(found) == STAGE_ONE
    assert found["train list"][1] == "557 images"
    assert found["classes"][1] == "10 classes have training images, from 3 to 120"
    assert found["sentences"][1] == "44, 4 to 5 for each of 10 classes"
    assert "checkpoints/digits_dv: new" in found["output"][1]
    assert "2 x [8, 10] finite logits" in found["step"][1]


def test_weights_that_start_after_the_last_epoch_are_amiss(checkout: Path) -> None:
    late = "configs/digits/finetune/late.py"
    (checkout / late).write_text(
        '_base_ = ["./digits_dv.py"]\ncfg = dict(epochs=5)\n'
        'reweighting = dict(reweight=dict(type="class_volume", start_epoch=5))\n'
    )
    assert "never apply, and the run is the baseline" in only(check(checkout, late, code=1), "weights")


def test_weights_for_equal_radii_are_told_in_plain_numbers(checkout: Path) -> None:
    counts = np.bincount(np.load(checkout / DATA / "train.npz")["labels"])
    draws = np.sqrt(counts) * len(counts)  # the sampler's 1/sqrt(n)
    expected = (draws.sum() / len(counts)) / draws
    message = check(checkout, CLASS_VOLUME, code=0)["weights"][1]
    assert f"from {expected.min():.3g} (a class of 120 images) to {expected.max():.3g} (of 3), 1 on average" in message
    letter = reweight(checkout, 'reweight=dict(type="class_volume", counts="dataset", normalize="dataset")')
    alpha = counts.sum() / len(counts) / counts
    mean = (draws * alpha).sum() / draws.sum()
    assert f"to {alpha.max():.3g} (of 3), {mean:.3g} on average" in check(checkout, letter, code=0)["weights"][1]
    assert check(checkout, CONTROL, code=0)["weights"][1].startswith(f"from {expected.min():.3g}")


def test_memory_of_the_statistics_is_that_of_their_tensors(checkout: Path) -> None:
    each = reweight(checkout, 'reweight=dict(type="class_volume", branch="each")')
    one = 3 * 10 * 10 * 8 + 2 * 10 * 8  # sums in float64 for few classes, and masses
    assert f"of {one / 1000:.3g} kB on each rank" in check(checkout, CLASS_VOLUME, code=0)["memory"][1]
    assert f"of {2 * one / 1000:.3g} kB on each rank" in check(checkout, each, code=0)["memory"][1]


def test_a_baseline_is_fine_installed_or_not(checkout: Path) -> None:
    found = check(checkout, BASELINE, code=0)
    assert skipped(found) == [*STAGE_ONE, "reweight", "weights", "memory"]
    uninstall(checkout)
    found = check(checkout, BASELINE, code=0)
    assert skipped(found) == ["plug-in", *STAGE_ONE, "reweight", "weights", "memory"]


@pytest.mark.parametrize("value", [None, False])
def test_a_key_that_asks_for_nothing_is_a_baseline(checkout: Path, value: object) -> None:
    found = check(checkout, reweight(checkout, f"reweight={value}"), code=0)
    assert found["reweight"] == ("skip", "the config asks for no `reweight`: nothing is re-weighted")


def test_a_process_group_is_not_joined(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")  # as a scheduler may set it
    monkeypatch.setenv("WORLD_SIZE", "8")
    check(checkout, CLASS_VOLUME, code=0)


def test_a_missing_list(checkout: Path) -> None:
    (checkout / DATA / "val.npz").unlink()
    found = check(checkout, CLASS_VOLUME, code=1)
    assert "val.npz" in only(found, "val list")
    assert "it needs val list" in found["model"][1]


def test_an_image_that_cannot_be_read(checkout: Path) -> None:
    edit(
        checkout / "datasets.py",
        "return self.pipeline(self.images[index])",
        "if len(self) == 180 and index > 100:\n            raise OSError(f'{index}.png is cut short')\n"
        "        return self.pipeline(self.images[index])",
    )
    assert "14 of 96 images tried cannot be read; the first: 101.png" in only(
        check(checkout, CLASS_VOLUME, code=1), "images"
    )


def test_a_wrong_class_count(checkout: Path) -> None:
    path = checkout / DATA / "sentence_counts.npy"
    np.save(path, np.load(path)[:9])
    assert "targets in 0..8 (9 classes) but found 9" in only(check(checkout, CLASS_VOLUME, code=1), "classes")


def test_labels_out_of_range_in_another_split(checkout: Path) -> None:
    arrays = dict(np.load(checkout / DATA / "val.npz"))
    arrays["labels"][7] = 11
    np.savez(checkout / DATA / "val.npz", **arrays)
    assert "In the val set" in only(check(checkout, CLASS_VOLUME, code=1), "classes")


def test_a_class_that_is_tested_but_not_trained_is_named(checkout: Path) -> None:
    arrays = dict(np.load(checkout / DATA / "train.npz"))
    keep = arrays["labels"] != 9
    np.savez(checkout / DATA / "train.npz", **{name: array[keep] for name, array in arrays.items()})
    message = check(checkout, CLASS_VOLUME, code=0)["classes"][1]
    assert message.startswith("9 of 10 classes have training images")
    assert "val has images of 1 classes that are not trained (9)" in message


def test_a_class_without_sentences(checkout: Path) -> None:
    path = checkout / DATA / "sentence_counts.npy"
    counts = np.load(path)
    counts[3] = 0
    np.save(path, counts)
    assert "1 have none (3)" in only(check(checkout, CLASS_VOLUME, code=1), "sentences")


def test_less_than_a_batch(checkout: Path) -> None:
    config = reweight(checkout, "batch_size=600")
    edit(checkout / BASELINE, "    batch_size=32,\n", "")
    assert "one batch of 600" in only(check(checkout, config, code=1), "train list")


def test_a_forward_step_that_is_not_finite(checkout: Path) -> None:
    path = checkout / DATA / "text_embeddings.npy"
    embeddings = np.load(path)
    embeddings[4, 0, 0] = np.nan
    np.save(path, embeddings)
    assert "8 of 8 rows of image-text logits" in only(check(checkout, CLASS_VOLUME, code=1), "step")


FORWARD = "def forward(self, inputs: Tensor, outputs: Tensor, labels: Tensor)"


@pytest.mark.parametrize("config", [BASELINE, CLASS_VOLUME])
@pytest.mark.parametrize("more", [", epoch: int", ", *, epoch: int", ", epoch: int = 0", ", *args: int"])
def test_a_fork_whose_criterion_takes_a_fourth_argument_is_fine(checkout: Path, config: str, more: str) -> None:
    """Its loop gives the argument, which nothing but the loop knows."""
    plain = check(checkout, config, code=0)["step"][1]
    edit(checkout / "losses.py", FORWARD, FORWARD.replace(")", f"{more})"))
    step = check(checkout, config, code=0)["step"][1]
    needed = more in (", epoch: int", ", *, epoch: int")
    assert step.split(", loss")[0] == plain.split(", loss")[0]
    assert ("(of the base criterion; of DistillationLoss, missing a required" in step) == needed


def test_a_fork_whose_loop_alone_can_call_its_criterion_is_fine(checkout: Path) -> None:
    edit(checkout / "losses.py", FORWARD, FORWARD.replace(")", ", epoch: int)"))
    edit(checkout / "losses.py", "self.base_criterion = base_criterion", "self.base = base_criterion")
    edit(checkout / "losses.py", "self.base_criterion(", "self.base(")
    message = check(checkout, BASELINE, code=0)["step"][1]
    assert (
        "finite logits; no loss tried: only the host's own loop can call its criterion: missing a required " in message
    )


def test_a_fork_whose_model_takes_another_argument_is_not_run(checkout: Path) -> None:
    edit(
        checkout / "models/finetune.py",
        "(self, images: Tensor) -> Tensor | tup",
        "(self, images: Tensor, epoch: int) -> Tensor | tup",
    )
    found = check(checkout, BASELINE, code=0)
    assert found["step"] == (
        "skip",
        "only the host's own loop can call its model: missing a required argument: 'epoch'",
    )


def test_a_fork_whose_criterion_gives_parts_of_the_loss_beside_is_fine(checkout: Path) -> None:
    edit(checkout / "losses.py", "return loss", "return loss, loss.detach()")
    assert "finite logits, loss" in check(checkout, BASELINE, code=0)["step"][1]


def test_logits_of_another_width(checkout: Path) -> None:
    edit(checkout / "models/finetune.py", "visual: Tensor = self.head(x)", "visual: Tensor = self.head(x)[:, 1:]")
    assert "but the model gives [[8, 9], [8, 10]]" in only(check(checkout, CLASS_VOLUME, code=1), "step")


def test_a_model_with_one_output_for_two_branches(checkout: Path) -> None:
    edit(checkout / "models/finetune.py", "two_branch=args.two_branch", "two_branch=False")
    assert "make `two_branch` in the config agree" in only(check(checkout, CLASS_VOLUME, code=1), "step")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('reweight=dict(type="class_volumes")', "did you mean 'class_volume'?"),
        ('reweight=dict(type="class_volume", min_sample=30)', "did you mean 'min_samples'?"),
        ('reweight=dict(type="class_volume", branch="text")', "branch"),
        ('reweight=dict(type="class_volume", normalize="sum")', "normalize"),
        ('reweight=dict(type="class_volume", variant="pv", memory_limit=100)', "memory_limit"),
        ('reweigth=dict(type="class_volume")', "'reweigth': was that meant?"),
        ('reweight=None, re_weight=dict(type="class_volume")', "'re_weight': was that meant?"),
    ],
)
def test_a_typing_error_in_reweight(checkout: Path, text: str, message: str) -> None:
    found = check(checkout, reweight(checkout, text), code=1)
    assert message in only(found, "reweight")
    assert found["step"][0] == "ok"


def test_a_typing_error_in_reweight_is_found_even_where_data_are_missing(checkout: Path) -> None:
    (checkout / DATA / "train.npz").unlink()
    found = check(checkout, reweight(checkout, 'reweight=dict(type="class_volumes")'), code=1)
    assert [name for name, (status, _) in found.items() if status == "FAIL"] == ["train list", "reweight"]


def test_a_sampler_that_cannot_be_re_weighted(checkout: Path) -> None:
    edit(checkout / "samplers.py", "self.replacement = replacement", "self.replacement = False")
    assert "draws with replacement" in only(check(checkout, CLASS_VOLUME, code=1), "reweight")


def test_a_checkout_without_the_plugin(checkout: Path) -> None:
    uninstall(checkout)
    found = check(checkout, CLASS_VOLUME, code=1)
    assert "not installed" in only(found, "plug-in")
    assert skipped(found) == STAGE_ONE


def test_a_baseline_in_a_checkout_with_half_the_plugin(checkout: Path) -> None:
    lines = (checkout / "main.py").read_text().splitlines(keepends=True)
    (checkout / "main.py").write_text("".join(line for line in lines if "begin_epoch(epoch)" not in line))
    assert "partly installed" in only(check(checkout, BASELINE, code=1), "plug-in")


def test_a_main_that_never_calls_attach_is_stopped_before_it_trains(checkout: Path, tmp_path: Path) -> None:
    mark = tmp_path / "trained"
    step = "loss_scaler(loss, optimizer, clip_grad=max_norm or None, parameters=model.parameters())\n"
    edit(checkout / "engine.py", step, f"{step}        open({str(mark)!r}, 'w').close()\n")
    hijack = "    import vlltr_plugin\n    vlltr_plugin.attach = lambda *_, **__: vlltr_plugin.training.hook.Hook()\n"
    edit(checkout / "optim_factory.py", '    """Return', f'{hijack}    """Return')
    assert "without calling the plug-in's `attach`" in only(check(checkout, BASELINE, code=1), "training")
    assert not mark.exists()


@pytest.mark.parametrize("argument", ["--eval", "--debug"])
def test_a_run_that_would_not_train(checkout: Path, argument: str) -> None:
    found = check(checkout, CLASS_VOLUME, f"--host-args={argument}", code=1)
    assert argument.strip("-") in only(found, "config")


def test_too_little_memory(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlltr_plugin.hosts.vl_ltr.checks.free_memory", lambda device: 3000)
    assert "3 kB free" in only(check(checkout, CLASS_VOLUME, code=1), "memory")


def test_a_host_that_fails_is_one_line(checkout: Path) -> None:
    edit(
        checkout / "optim_factory.py",
        "def create_optimizer(",
        "def create_optimizer(*_):\n    assert 1 > 2\n\n\ndef old(",
    )
    message = only(check(checkout, CLASS_VOLUME, code=1), "training")
    assert "AssertionError: optim_factory.py, line" in message
    assert "assert 1 > 2" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.py"], "no file missing.py"),
        ([CLASS_VOLUME, "--host-args", "--no-such-option 3"], "own parser refused"),
        ([CLASS_VOLUME, "--host-args", "'open"], "as in a shell"),
        ([CLASS_VOLUME, "--device", "toaster"], "Expected a device of this machine but got 'toaster'"),
        (["configs/stage1.py"], "pre-training stage"),
    ],
)
def test_a_user_error_is_one_line(
    checkout: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (checkout / "configs/stage1.py").write_text("cfg = dict(pretrain_cvlp=True)\n")
    check(checkout, *arguments, code=2)
    error = capsys.readouterr().err
    assert error.startswith("vlltr-plugin: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_that_is_no_checkout(
    tmp_path: Path, copied: Callable[[Path], Path], installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(copied(installed) / CLASS_VOLUME)
    (tmp_path / "empty").mkdir()
    check(tmp_path / "empty", config, code=2)
    assert "has no main.py" in capsys.readouterr().err
