"""The loss that LIFT's trainer gets, against a float64 loop; what `attach` touches, and what it notices."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vlltr_plugin.hosts.lift import attach

Build = Callable[..., Callable[[], Any]]


@pytest.fixture
def trainer(build: Build, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A trainer of the stand-in that has not trained yet; `attach` is not called."""

    def make(**options: Any) -> Any:
        start = build(num_epochs=0, **options)
        monkeypatch.setattr("vlltr_plugin.hosts.lift.attach", lambda trainer: None)
        made = start()
        made.cfg.num_epochs = 2
        return made

    return make


def log_radii(made: Any) -> np.ndarray:
    """Of the unaugmented training images: mean log of the unbiased standard deviations of each class's logits."""
    points = made.train_init_loader.dataset
    logits = made.model.eval()(points.data).detach().double().numpy()
    made.model.train()  # dropout is on again when `attach` comes
    labels = np.array(points.labels)
    return np.array([np.log(logits[labels == c].std(axis=0, ddof=1)).mean() for c in range(made.num_classes)])


def naive_losses(form: str, tau: float, log_r: np.ndarray, counts: Any, logits: Any, labels: Any) -> float:
    """alpha_i = beta r_i / n_i with the mean over the draws 1, as weights or as margins, one sample after the other."""
    n = np.array(counts, float)
    r = np.exp(log_r)
    alpha = r / n * n.sum() / r.sum()
    total = 0.0
    for z, y in zip(logits.double().tolist(), labels.tolist(), strict=True):
        if form == "margins":
            z = [value - tau * math.log(alpha[k]) for k, value in enumerate(z)]
        top = max(z)
        loss = top + math.log(sum(math.exp(value - top) for value in z)) - z[y]
        total += loss * (alpha[y] if form == "weights" else 1.0)
    return total / len(labels)


@pytest.mark.parametrize(
    ("options", "form", "tau"),
    [
        ({"loss_type": "CE"}, "weights", 1.0),
        ({"loss_type": "LA"}, "margins", 1.0),
        ({"loss_type": "LA", "reweight_tau": 1.25}, "margins", 1.25),
        ({"loss_type": "CE", "reweight_form": "logit_adjustment"}, "margins", 1.0),
        ({"loss_type": "LA", "sampler": "ClassAwareSampler"}, "margins", 1.0),
    ],
)
def test_once_radii_apply_the_loss_is_the_definition(options: Any, form: str, tau: float, trainer: Any) -> None:
    made = trainer(reweight_type="class_volume", reweight_measure_first=True, **options)
    log_r = log_radii(made)
    attach(made)
    logits, labels = 3 * torch.randn(40, 5), torch.arange(40) % 5
    expected = naive_losses(form, tau, log_r, made.cfg.counts, logits, labels)
    for dtype, accuracy in ((torch.float32, 1e-5), (torch.float16, 5e-3), (torch.float64, 1e-5)):
        found = made.criterion(logits.to(dtype), labels)
        assert float(found) == pytest.approx(expected, rel=accuracy)
    assert expected != pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=0.01)


def test_until_radii_apply_the_hosts_own_criterion_is_called(trainer: Any) -> None:
    made = trainer(reweight_type="class_volume")
    own = made.criterion
    attach(made)
    logits, labels = torch.randn(40, 5), torch.arange(40) % 5
    assert torch.equal(made.criterion(logits, labels), own(logits, labels))


def test_measuring_first_leaves_generators_modes_and_parameters_as_they_were(trainer: Any) -> None:
    made = trainer(reweight_type="class_volume", reweight_measure_first=True, parallel=True)
    made.model.train()
    made.model.module[0].eval()
    modes = [module.training for module in made.model.modules()]
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # noqa: NPY002
    parameters = [value.clone() for value in made.model.parameters()]
    attach(made)
    assert made.criterion.criteria["single"].weighting.epoch == 0
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]
    assert [module.training for module in made.model.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(made.model.parameters(), parameters, strict=True))
    assert all(value.grad is None for value in made.model.parameters())


def test_a_trainer_that_is_given_prompts_is_measured_with_them(trainer: Any) -> None:
    made = trainer(loss_type="CE", reweight_type="class_volume", reweight_measure_first=True)
    log_r = log_radii(made)
    inner = made.model

    class WithPrompts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, image: Any, text: Any, is_text_feature: bool) -> Any:
            assert text == "prompts"
            assert not is_text_feature
            return self.inner(image)

    made.model, made.generate_class_prompts, made.init_loader = WithPrompts(), lambda: "prompts", made.train_init_loader
    del made.train_init_loader
    attach(made)
    alpha = np.exp(log_r) / np.array(made.cfg.counts, float)
    weights = made.criterion.criteria["single"].weighting.weights.numpy()
    assert np.allclose(weights / weights.sum(), alpha / alpha.sum(), rtol=1e-4)


def one_epoch(made: Any) -> None:
    for image, label in made.train_loader:
        made.criterion(made.model(image), label)


def test_a_criterion_that_is_replaced_or_never_called_is_noticed(trainer: Any) -> None:
    made = trainer(reweight_type="class_volume")
    hook = attach(made)
    with pytest.raises(ValueError, match="replaced or never called"):
        hook.end_epoch(0)
    made = trainer(reweight_type="class_volume")
    hook = attach(made)
    one_epoch(made)
    hook.end_epoch(0)
    one_epoch(made)
    made.criterion = nn.CrossEntropyLoss()  # in the middle of the second epoch
    with pytest.raises(ValueError, match="replaced or never called"):
        hook.end_epoch(1)


def test_a_trainer_without_tensorboard_is_served(trainer: Any) -> None:
    made = trainer(reweight_type="class_volume")
    del made._writer
    hook = attach(made)
    one_epoch(made)
    assert hook.end_epoch(0)["reweight_alpha_max"] > 2


def test_twice_is_refused(trainer: Any) -> None:
    made = trainer(reweight_type="class_volume")
    attach(made)
    with pytest.raises(ValueError, match="call attach once"):
        attach(made)


class Smoothed(nn.CrossEntropyLoss):
    def __init__(self) -> None:
        super().__init__(label_smoothing=0.1)


class Weighted(nn.CrossEntropyLoss):
    def __init__(self) -> None:
        super().__init__(weight=torch.arange(1.0, 6.0))


class Third(nn.Module):
    def forward(self, output: Any, label: Any, counts: Any) -> Any:
        return output.sum()


@pytest.mark.parametrize(("own", "reason"), [(Weighted, "to be softmax cross entropy"), (Third, "fails on them")])
def test_a_criterion_that_is_not_what_its_name_says_is_refused(own: Any, reason: str, trainer: Any) -> None:
    made = trainer(loss_type="CE", reweight_type="class_volume")
    made.criterion = own()
    with pytest.raises(ValueError, match=reason):
        attach(made)
    assert type(made.criterion) is own


@pytest.mark.parametrize("classes", [80, 300])
def test_a_criterion_that_weighs_the_rare_classes_alone_is_refused(classes: int, trainer: Any) -> None:
    made = trainer(loss_type="CE", reweight_type="class_volume", counts=str((2,) * classes))
    made.criterion = nn.CrossEntropyLoss(weight=torch.where(torch.arange(classes) < 50, 1.0, 5.0))
    with pytest.raises(ValueError, match="to be softmax cross entropy"):
        attach(made)


def test_label_smoothing_of_the_host_is_kept(trainer: Any) -> None:
    made = trainer(loss_type="CE", reweight_type="inverse", reweight_start_epoch=0)
    made.criterion = Smoothed()
    attach(made)
    n = torch.tensor(made.cfg.counts, dtype=torch.double)
    alpha = (1 / n) * n.sum() / len(n)
    logits, labels = torch.randn(40, 5), torch.arange(40) % 5
    each = nn.functional.cross_entropy(logits.double(), labels, label_smoothing=0.1, reduction="none")
    assert float(made.criterion(logits, labels)) == pytest.approx(float((alpha[labels] * each).mean()), rel=1e-5)


def test_a_training_set_without_labels_and_a_batch_sampler_are_refused(trainer: Any) -> None:
    made = trainer(reweight_type="class_volume")
    del made.train_loader.dataset.labels
    with pytest.raises(ValueError, match="one label an image as `labels`"):
        attach(made)
    made = trainer(reweight_type="class_volume")
    pairs = [[0, 1], [2, 3]]
    made.train_loader = torch.utils.data.DataLoader(made.train_loader.dataset, batch_sampler=pairs)
    with pytest.raises(ValueError, match="batch_sampler of its own"):
        attach(made)
