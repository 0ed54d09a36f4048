"""Runs of the stand-in: what the lines change, and what they do not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hosts.timm_train.conftest import STANDIN, Train
from oracles import mean_loss
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
def test_the_first_epoch_is_the_plain_run_and_the_others_are_not(way: str, train: Train) -> None:
    plain, off, on = train(way, "plain", STANDIN), train(way, "off"), train(f"{way} {DV}", "on")
    assert off.rows == plain.rows
    assert on.rows[0] == plain.rows[0]
    assert all(row["train_loss"] != other["train_loss"] for row, other in zip(on.rows[1:], plain.rows[1:], strict=True))
    assert off.said == []
    assert "class_volume, min_samples 5 as loss weights, from epoch 1 on" in on.said[-1]


def test_uninstall_leaves_no_trace(checkout: Path) -> None:
    uninstall(checkout)
    assert (checkout / "train.py").read_bytes() == (STANDIN / "train.py").read_bytes()


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


def test_resuming_across_a_change_of_the_settings(train: Train) -> None:
    weighted, plain = train(DV, "weighted").folder, train("", "plain").folder
    state = f"--resume {weighted}/checkpoint-0.pth.tar"
    with pytest.raises(ValueError, match="differs in min_samples: saved 5, here 2"):
        train(f"--reweight class_volume {state}", "other")
    assert not (weighted.parent / "other").exists()
    assert train(state, "off").said == [
        "the checkpoint of --resume holds a re-weighting state, but there is no --reweight: weights are 1."
    ]
    started = train(f"{DV} --resume {plain}/checkpoint-0.pth.tar", "started")
    assert started.said[1] == "this checkpoint holds no re-weighting state: weights start at 1."


def test_the_state_stands_in_the_arguments_of_a_checkpoint_that_loads_safely(train: Train) -> None:
    run = train(DV)
    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(run.folder / "checkpoint-2.pth.tar", weights_only=True)["args"].reweight_state
    arrays = np.load(run.folder / "reweight" / "epoch_0002.npz")
    assert np.array_equal(state["weightings"]["single"]["weights"].numpy(), arrays["next_weights_single"])


REFUSED = {
    f"--jsd-loss --aug-splits 3 {DV}": "no --jsd-loss with --reweight",
    f"--aug-splits 3 {DV}": "no --aug-splits with --reweight",
    f"--naflex-loader {DV}": "no --naflex-loader",
    f"--bce-loss --bce-target-thresh 0.2 {DV}": "no --bce-target-thresh",
    f"--bce-loss --bce-pos-weight 2 {DV}": "no --bce-pos-weight",
    f"--bce-loss {DV} form=logit_adjustment": "form=loss_weight with --bce-loss",
    f"{DV} source=clean_pass": "source=stream",
    f"--labels none {DV}": "tells the label of each image",
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


def arguments(**given: Any) -> argparse.Namespace:
    defaults = {"reweight": "class_volume", "reweight_opt": {}, "resume": "", "epochs": 3, "device": "cpu"}
    losses = {"smoothing": 0.1, "mixup": 0.0, "cutmix": 0.0, "cutmix_minmax": None, "bce_loss": False, "bce_sum": False}
    return argparse.Namespace(**{"num_classes": 3, **defaults, **losses, **given})


class Points(torch.utils.data.Dataset[int]):
    def __len__(self) -> int:
        return 16


class Labelled(Points):
    targets = [0] * 8 + [1] * 4 + [2] * 4


def loader(**given: Any) -> DataLoader[Any]:
    return DataLoader(Labelled(), **given)


class ReaderHfds:
    """As timm's, by its name: a column of a table."""

    label_key, dataset, class_to_idx = "label", {"label": ["a"] * 8 + ["b"] * 4 + ["c"] * 4}, {"a": 0, "b": 2, "c": 1}

    def __init__(self, remap_class: bool) -> None:
        self.remap_class = remap_class
        self.dataset = self.dataset if remap_class else {"label": Labelled.targets}


class INaturalist(Points):
    """As torchvision's, by its name."""

    target_type, index = ["full"], [(label, "name.jpg") for label in Labelled.targets]


DATA = {
    "hfds": (Points(), {"reader": ReaderHfds(False)}),
    "hfds with a class map": (Points(), {"reader": ReaderHfds(True)}),
    "inaturalist": (INaturalist(), {}),
    "scheduled": (type("ScheduledTransformDataset", (Points,), {"dataset": Labelled()})(), {}),
}


@pytest.mark.parametrize(("dataset", "more"), DATA.values(), ids=DATA)
def test_where_data_sets_keep_their_labels(dataset: Any, more: dict[str, Any]) -> None:
    vars(dataset).update(more)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    criterion: Any = attach(arguments(), loss, nn.Identity(), DataLoader(dataset), None)[0]
    assert criterion.criteria["single"].weighting.class_counts.tolist() == [8, 4, 4]


class Binary(nn.Module):
    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        soft = target if target.is_floating_point() else 0.9 * nn.functional.one_hot(target, 3) + 0.1 / 3
        return nn.functional.binary_cross_entropy_with_logits(output, soft)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_the_loss_of_a_step_is_that_of_a_loop_in_float64(mixed: bool, binary: bool) -> None:
    base = Binary() if binary else nn.CrossEntropyLoss(label_smoothing=0.0 if mixed else 0.1)
    args = arguments(bce_loss=binary, mixup=0.8 * mixed)
    criterion, hook = attach(args, base, nn.Identity(), loader(), None)
    hook.begin_epoch(0, None)
    labels = torch.tensor(Labelled.targets)
    smoothed = 0.9 * nn.functional.one_hot(labels, 3) + 0.1 / 3
    targets = 0.7 * smoothed + 0.3 * smoothed.flip(0) if mixed else labels
    logits = torch.randn(16, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert criterion(logits, targets).item() == base(logits, targets).item()
    hook.end_epoch(0)
    alpha = args.reweight_state["weightings"]["single"]["weights"]
    expected = mean_loss("sigmoid" if binary else "softmax", logits, targets, alpha.tolist(), 0.1)
    assert float(alpha.max() / alpha.min()) > 1.2
    assert criterion(logits, targets).item() == pytest.approx(expected / (3 if binary else 1), rel=1e-6)


def test_the_adjusted_loss_of_a_step_is_that_of_a_loop_in_float64() -> None:
    args = arguments(reweight="inverse", reweight_opt={"form": "logit_adjustment"}, smoothing=0.2)
    criterion, _ = attach(args, nn.CrossEntropyLoss(label_smoothing=0.2), nn.Identity(), loader(), None)
    logits = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    lowered = logits - torch.tensor([1 / 8, 1 / 4, 1 / 4]).log()
    expected = mean_loss("softmax", lowered, torch.tensor(Labelled.targets), [1.0] * 3, 0.2)
    assert criterion(logits, torch.tensor(Labelled.targets)).item() == pytest.approx(expected, rel=1e-6)


class RepeatAugSampler(SequentialSampler):
    """As timm's, by its name."""


class ScheduledBatchSampler(BatchSampler):
    """As timm's, by its name."""


class OtherBatches(BatchSampler):
    """A user's own."""


@pytest.mark.parametrize("batches", [BatchSampler, ScheduledBatchSampler, OtherBatches])
def test_samplers_whose_draws_are_known(batches: type[BatchSampler]) -> None:
    given = loader(batch_sampler=batches(RepeatAugSampler(range(16)), 4, False))
    if batches is OtherBatches:
        with pytest.raises(ValueError, match="OtherBatches, whose draws are not known"):
            attach(arguments(), nn.CrossEntropyLoss(label_smoothing=0.1), nn.Identity(), given, None)
    else:
        attach(arguments(), nn.CrossEntropyLoss(label_smoothing=0.1), nn.Identity(), given, None)


def test_a_loss_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"MultiMarginLoss gives .* re-weighting would change more than the weights"):
        attach(arguments(), nn.MultiMarginLoss(), nn.Identity(), loader(), None)
    with pytest.raises(ValueError, match="L1Loss fails on them"):
        attach(arguments(), nn.L1Loss(), nn.Identity(), loader(), None)
    criterion, _ = attach(arguments(), nn.CrossEntropyLoss(label_smoothing=0.1), nn.Identity(), loader(), None)
    with pytest.raises(ValueError, match="call attach once"):
        attach(arguments(), criterion, nn.Identity(), loader(), None)


def test_a_script_that_trains_with_another_loss_is_refused(checkout: Path, train: Train) -> None:
    script = checkout / "train.py"
    script.write_text(script.read_text().replace("optimizer, train_loss_fn, args", "optimizer, validate_loss_fn, args"))
    with pytest.raises(ValueError, match="it was never called"):
        train(DV)
