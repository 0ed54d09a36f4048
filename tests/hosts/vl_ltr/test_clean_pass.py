"""Statistics from a clean pass: what it reads and that it leaves the training alone."""

import copy
import random
import sys
import types
from itertools import pairwise

import numpy as np
import pytest
import torch

from vlltr_plugin import ClassVolume
from vlltr_plugin.report.inspect import inspect_run

CLEAN = {"type": "class_volume", "source": "clean_pass"}


@pytest.mark.usefixtures("host_datasets")
@pytest.mark.parametrize("branch", ["image_text", "sum", "each"])
def test_weights_come_from_every_image_once_with_the_evaluation_transform(mini_host, branch):
    host = mini_host({**CLEAN, "branch": branch})
    host.attach()
    host.epoch(0)
    with torch.no_grad():
        visual, text = host.model(host.dataset.data)
    for name, weighting in host.hook.weightings.items():
        reference = ClassVolume(weighting.class_counts, weighting.draws)
        reference.observe(
            {"image_text": text, "visual": visual, "sum": visual + text}[name], torch.tensor(host.dataset.targets)
        )
        reference.end_epoch()
        torch.testing.assert_close(weighting.weights, reference.weights, rtol=1e-5, atol=0)


def test_it_uses_no_random_number_of_the_training_and_restores_the_modes(mini_host, host_datasets):
    drawn, training = [], set()

    def draw(image):  # as an evaluation transform may, from each generator that the host uses
        training.update(module.training for module in host.model.modules())
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))  # noqa: NPY002
        return image

    host_datasets.build_transform = lambda is_train, args: draw
    host = mini_host(CLEAN)
    pipeline = host.dataset.pipeline
    host.model.visual.eval()
    host.attach()
    states = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # noqa: NPY002
    parameters = copy.deepcopy(host.model.state_dict())
    host.hook.end_epoch(0)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002
    assert states[2] == random.getstate()
    assert [module.training for module in host.model.modules()] == [True, False, True]
    assert len(drawn) == len(host.dataset)
    assert training == {False}
    assert host.dataset.pipeline is pipeline
    assert all(torch.equal(value, parameters[name]) for name, value in host.model.state_dict().items())
    assert all(value.grad is None for value in host.model.parameters())


@pytest.mark.usefixtures("host_datasets")
def test_every_n_epochs_only(mini_host):
    host = mini_host({**CLEAN, "every": 2})
    host.attach()
    weights = []
    for epoch in range(4):
        host.epoch(epoch)
        weights.append(host.hook.weightings["image_text"].weights.clone())
        assert host.hook.weightings["image_text"].active == (epoch > 0)
    assert [torch.equal(*pair) for pair in pairwise(weights)] == [False, True, False]


@pytest.mark.usefixtures("host_datasets")
@pytest.mark.parametrize("branch", ["image_text", "each"])
def test_a_run_resumed_before_an_epoch_without_a_clean_pass_can_be_inspected(mini_host, branch, tmp_path):
    hosts = [mini_host({**CLEAN, "every": 2, "branch": branch}, output_dir=str(tmp_path)) for _ in range(2)]
    for host, epochs in zip(hosts, ((0, 1), (2, 3)), strict=True):
        host.attach()
        host.hook.load(hosts[0].state()) if host is hosts[1] else None
        for epoch in epochs:
            host.epoch(epoch)
    found = [inspect_run(tmp_path, epoch) for epoch in range(4)]
    assert [[(one.measured, one.samples_known) for one in epoch] for epoch in found] == [
        [known] * len(found[0]) for known in ((False, True), (True, True), (True, False), (True, True))
    ]
    for name in (one.logits for one in found[0]):
        kept, measured = (next(one for one in found[epoch] if one.logits == name) for epoch in (2, 1))
        assert np.array_equal(kept.radii, measured.radii)


def test_a_host_without_an_evaluation_transform_is_refused(mini_host, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", types.ModuleType("datasets"))
    host = mini_host(CLEAN)
    with pytest.raises(ValueError, match="use source='stream'"):
        host.attach()
    assert host.criterion.base_criterion is host.base


SPOILT = {"sum 2": lambda t: 2 * t, "not smoothed": lambda t: (t - 0.02) / 0.9, "negative": lambda t: -t}


@pytest.mark.usefixtures("host_datasets")
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_soft_targets_that_do_not_fit_are_refused_though_no_batch_is_observed(mini_host, spoil):
    host = mini_host(CLEAN)
    host.attach()
    x, targets = host.mixup(host.dataset.data[:8], torch.tensor(host.dataset.targets[:8]))
    with pytest.raises(ValueError, match="Expected soft targets"):
        host.criterion(x, host.model(x)[1], spoil(targets))
