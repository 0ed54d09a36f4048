"""Runs of the stand-in: what the lines change, and what they do not."""

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hosts.standins import standin
from hosts.timm_train.conftest import Train
from oracles import mean_loss, weights_of
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from vlltr_plugin.hosts.timm_train import attach
from vlltr_plugin.install import uninstall

WAYS = {
    "smoothing": "",
    "hard labels": "--smoothing 0",
    "mixed": "--mixup 0.8",
    "mixed and smoothed, accumulated": "--cutmix 1 --smoothing 0.2 --grad-accum-steps 2",
    "binary": "--bce-loss",
    "binary, mixed, summed": "--bce-loss --bce-sum --mixup 0.8",
    "no prefetcher, torchvision's labels": "--no-prefetcher --labels targets",
    "classes without images": "--num-classes 6",
}
DV = "--reweight class_volume --reweight-opt min_samples=5"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_first_epoch_is_the_plain_run_and_the_others_are_not(way: str, train: Train, checkout: Path) -> None:
    original = standin("timm_train")
    plain, off, on = train(way, "plain", original), train(way, "off"), train(f"{way} {DV}", "on")
    assert off.rows == plain.rows
    assert on.rows[0] == plain.rows[0]
    assert all(row["train_loss"] != other["train_loss"] for row, other in zip(on.rows[1:], plain.rows[1:], strict=True))
    assert off.said == []
    assert "class_volume, min_samples 5 as loss weights, from epoch 1 on" in on.said[-1]
    uninstall(checkout)
    assert (checkout / "train.py").read_bytes() == (original / "train.py").read_bytes()


def test_logit_adjustment_applies_at_once_and_leaves_the_validation_loss_plain(train: Train) -> None:
    plain = train("--lr 0", "plain")
    adjusted = train(f"--lr 0 {DV} form=logit_adjustment", "adjusted")
    assert adjusted.rows[0]["train_loss"] != plain.rows[0]["train_loss"]
    assert [row["eval_loss"] for row in adjusted.rows] == [row["eval_loss"] for row in plain.rows]


@pytest.mark.parametrize("way", ["", "--mixup 0.8"])
def test_a_resumed_run_goes_on_to_the_last_bit(way: str, train: Train) -> None:
    whole = train(f"{way} {DV}", "whole")
    resumed = train(f"{way} {DV} --resume {whole.folder}/checkpoint-0.pth.tar", "resumed")
    assert resumed.rows == whole.rows[1:]
    assert resumed.said[1].startswith("resumed the weights in force from epoch 1 on")
    for epoch in (1, 2):
        one, other = (np.load(run.folder / f"reweight/epoch_000{epoch}.npz") for run in (whole, resumed))
        assert all(np.array_equal(one[name], other[name]) for name in one.files)
    with torch.serialization.safe_globals([argparse.Namespace]):
        saved = torch.load(resumed.folder / "checkpoint-2.pth.tar", weights_only=True)["args"].reweight_state
    assert np.array_equal(saved["weightings"]["single"]["weights"].numpy(), other["next_weights_single"])


def test_resuming_across_a_change_of_the_settings(train: Train) -> None:
    weighted = train(DV, "weighted").folder
    state = f"--resume {weighted}/checkpoint-0.pth.tar"
    with pytest.raises(ValueError, match="differs in min_samples: saved 5, here 2"):
        train(f"--reweight class_volume {state}", "other")
    assert not (weighted.parent / "other").exists()
    assert train(state, "off").said == [
        "the checkpoint of --resume holds a re-weighting state, but there is no --reweight: weights are 1."
    ]


@pytest.mark.parametrize(
    ("options", "start"),
    {
        DV: "weights start at 1",
        f"{DV} form=logit_adjustment": "margins start with equal radii",
        "--reweight inverse": "none is needed",
        "--reweight inverse --reweight-opt form=logit_adjustment": "none is needed",
    }.items(),
)
def test_a_checkpoint_without_a_state_says_what_the_run_starts_from(options: str, start: str, train: Train) -> None:
    plain = train("", "plain").folder
    started = train(f"{options} --resume {plain}/checkpoint-0.pth.tar", "started")
    assert started.said[1] == f"this checkpoint holds no re-weighting state: {start}."
    first = np.load(started.folder / "reweight" / "epoch_0001.npz")
    counts = first["counts"]
    inverse = counts.mean() / counts  # also alpha for equal radii, with draws of n_i
    expected = (
        np.ones(len(counts)) if start == "weights start at 1" else inverse / (inverse * counts).sum() * counts.sum()
    )
    alpha = first["weights_single"] / (first["weights_single"] * counts).sum() * counts.sum()  # margins ignore a factor
    np.testing.assert_allclose(alpha, expected, rtol=1e-5)


REFUSED = {
    f"--jsd-loss --aug-splits 3 {DV}": "no --jsd-loss with --reweight",
    f"--aug-splits 3 {DV}": "no --aug-splits with --reweight",
    f"--naflex-loader {DV}": "no --naflex-loader",
    f"--bce-loss --bce-target-thresh 0.2 {DV}": "no --bce-target-thresh",
    f"--bce-loss --bce-pos-weight 2 {DV}": "no --bce-pos-weight",
    f"--bce-loss {DV} form=logit_adjustment": "form=loss_weight with --bce-loss",
    f"{DV} source=clean_pass": "source=stream",
    f"--labels none {DV}": "labels are known before training",
    f"--num-classes 3 {DV}": "0..2",
    "--reweight class_volum": "did you mean 'class_volume'",
    "--reweight class_volume --reweight-opt min_sample=5": "did you mean 'min_samples'",
    "--reweight class_volume --reweight-opt normalize=of": "normalize",
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.items(), ids=REFUSED.values())
def test_what_does_not_fit_is_refused_before_anything_is_written(
    arguments: str, message: str, train: Train, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        train(arguments)
    assert not (tmp_path / "run").exists()


def test_options_come_from_the_command_line_and_from_yaml(train: Train, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("reweight: inverse\nreweight_opt: {start_epoch: 1, normalize: mean}\n")
    run = train(f"--config {tmp_path}/config.yaml --reweight-opt start_epoch=2")
    assert "inverse, start_epoch 2, normalize mean as loss weights, from epoch 2 on" in run.said[-1]
    assert train("--reweight-opt min_samples=5").said == [
        "there is --reweight-opt but no --reweight: nothing is re-weighted."
    ]
    assert "the run is the baseline" in train(f"{DV} start_epoch=9").said[-1]
    with pytest.raises(SystemExit):
        train("--reweight class_volume --reweight-opt min_samples")


def test_empty_options_in_yaml_are_none_and_a_text_is_refused(train: Train, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    for empty in ("", "{}", "''"):
        config.write_text(f"reweight: inverse\nreweight_opt: {empty}\n")
        assert "inverse as loss weights, from epoch 0 on" in train(f"--config {config}").said[-1]
        assert "from epoch 1 on" in train(f"--config {config} --reweight-opt start_epoch=1").said[-1]
    config.write_text("reweight: inverse\nreweight_opt: start_epoch=1\n")
    with pytest.raises(ValueError, match=r"options by name, such as \{min_samples: 30\}, but got 'start_epoch=1'"):
        train(f"--config {config}", "refused")
    with pytest.raises(SystemExit):
        train(f"--config {config} --reweight-opt start_epoch=1", "refused")
    assert not (tmp_path / "refused").exists()


def test_a_script_that_trains_with_another_loss_is_refused(checkout: Path, train: Train) -> None:
    script = checkout / "train.py"
    script.write_text(script.read_text().replace("optimizer, train_loss_fn, args", "optimizer, validate_loss_fn, args"))
    with pytest.raises(ValueError, match="never called"):
        train(DV)


def attached(loss: nn.Module, train_loader: Any, **given: Any) -> Any:
    """What `attach` returns, and the arguments that it was given."""
    defaults = {"reweight": "class_volume", "reweight_opt": {}, "resume": "", "epochs": 3, "device": "cpu"}
    losses = {"smoothing": 0.1, "mixup": 0.0, "cutmix": 0.0, "cutmix_minmax": None, "bce_loss": False, "bce_sum": False}
    args = argparse.Namespace(**{"num_classes": 3, **defaults, **losses, **given})
    return *attach(args, loss, nn.Identity(), train_loader, None), args


SMOOTHED = nn.CrossEntropyLoss(label_smoothing=0.1)
LABELS = [0] * 8 + [1] * 4 + [2] * 4


class Points(torch.utils.data.Dataset[int]):
    """Without labels, unless they are given."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def __len__(self) -> int:
        return 16


def loader(**given: Any) -> DataLoader[Any]:
    return DataLoader(Points(targets=LABELS), **given)


def named(name: str, base: type) -> Any:
    """A class that is known by its name alone, as timm's and torchvision's are."""
    return type(name, (base,), {})


def column(labels: list[Any], **more: Any) -> Points:
    return Points(reader=named("ReaderHfds", SimpleNamespace)(label_key="label", dataset={"label": labels}, **more))


NAMES = ["a"] * 8 + ["b"] * 4 + ["c"] * 4
DATA = {
    "hfds": column(LABELS, remap_class=False),
    "hfds with a class map": column(NAMES, remap_class=True, class_to_idx={"a": 0, "b": 2, "c": 1}),
    "inaturalist": named("INaturalist", Points)(target_type=["full"], index=[(label, "name.jpg") for label in LABELS]),
    "several views": named("AugMixDataset", Points)(dataset=Points(targets=LABELS)),
    "scheduled": named("ScheduledTransformDataset", Points)(dataset=Points(targets=LABELS)),
}


@pytest.mark.parametrize("dataset", DATA.values(), ids=DATA)
def test_where_data_sets_keep_their_labels(dataset: Points) -> None:
    criterion, *_ = attached(SMOOTHED, DataLoader(dataset))
    assert criterion.criteria["single"].weighting.class_counts.tolist() == [8, 4, 4]


class Binary(nn.Module):
    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        soft = target if target.is_floating_point() else 0.9 * nn.functional.one_hot(target, 3) + 0.1 / 3
        return nn.functional.binary_cross_entropy_with_logits(output, soft)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "adjusted"])
def test_the_loss_of_a_step_is_that_of_a_loop_in_float64(mixed: bool, kind: str) -> None:
    base = Binary() if kind == "sigmoid" else nn.CrossEntropyLoss(label_smoothing=0.0 if mixed else 0.1)
    form = {"form": "logit_adjustment"} if kind == "adjusted" else {}
    given = {"bce_loss": kind == "sigmoid", "mixup": 0.8 * mixed, "reweight_opt": form}
    criterion, hook, args = attached(base, loader(), **given)
    hook.begin_epoch(0, None)
    labels = torch.tensor(LABELS)
    smoothed = 0.9 * nn.functional.one_hot(labels, 3) + 0.1 / 3
    targets = 0.7 * smoothed + 0.3 * smoothed.flip(0) if mixed else labels
    logits = torch.randn(16, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def expected(alpha: list[float]) -> float:
        if kind == "adjusted":
            return mean_loss("softmax", logits - torch.tensor(alpha).log(), targets, [1.0] * 3, 0.1)
        return mean_loss(kind, logits, targets, alpha, 0.1) / (3 if kind == "sigmoid" else 1)

    first = weights_of([0.0] * 3, [8, 4, 4]).tolist() if kind == "adjusted" else [1.0] * 3
    loss = criterion(logits, targets).item()
    assert loss == pytest.approx(expected(first), rel=1e-6)
    assert (loss == base(logits, targets).item()) == (kind != "adjusted")
    hook.end_epoch(0)
    alpha = args.reweight_state["weightings"]["single"]["weights"]
    assert float(alpha.max() / alpha.min()) > 1.2
    assert criterion(logits, targets).item() == pytest.approx(expected(alpha.tolist()), rel=1e-6)


def test_every_checkpoint_of_a_resumed_run_holds_its_state(tmp_path: Path) -> None:
    criterion, hook, args = attached(SMOOTHED, loader())
    hook.begin_epoch(0, None)
    criterion(torch.randn(16, 3, generator=torch.Generator().manual_seed(0)), torch.tensor(LABELS))
    hook.end_epoch(0)
    expected = args.reweight_state["weightings"]["single"]["weights"]
    assert float(expected.max()) > 1.1
    for epoch in (1, 2):  # a recovery checkpoint in the first epoch after a resume, twice
        torch.save({"args": args}, tmp_path / "recovery.pth.tar")
        criterion, hook, args = attached(SMOOTHED, loader(), resume=str(tmp_path / "recovery.pth.tar"))
        hook.begin_epoch(epoch, None)
        assert torch.equal(criterion.criteria["single"].weighting.weights, expected)


def batched(name: str) -> DataLoader[Any]:
    sampler = named("RepeatAugSampler", SequentialSampler)(range(16))
    return loader(batch_sampler=named(name, BatchSampler)(sampler, 4, False))


def test_the_draws_of_known_batch_samplers_are_known_and_other_ones_and_losses_are_refused() -> None:
    for batches in ("BatchSampler", "ScheduledBatchSampler"):
        criterion, *_ = attached(SMOOTHED, batched(batches))
        assert criterion.criteria["single"].weighting.draws.tolist() == [8, 4, 4]
    with pytest.raises(ValueError, match="OtherBatches, whose draws are not known"):
        attached(SMOOTHED, batched("OtherBatches"))
    with pytest.raises(ValueError, match=r"MultiMarginLoss gives .* re-weighting would change more than the weights"):
        attached(nn.MultiMarginLoss(), loader())
    with pytest.raises(ValueError, match="call attach once"):
        attached(criterion, loader())
