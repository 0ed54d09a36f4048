"""The draws that an evaluated run was trained with, from its checkpoint or its arguments."""

import argparse

import pytest
import torch

from vlltr_plugin.hosts.vl_ltr.evaluate import draws_of_run
from vlltr_plugin.training.draws import expected_draws

TARGETS = [0] * 16 + [1] * 4 + [3]
COUNTS = torch.tensor([16.0, 4.0, 0.0, 1.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("args", "power"),
    [
        ({}, 0.0),
        ({"weight_sample": True}, 1.0),
        ({"weight_sample": True, "use_sqrt_freq": True}, 0.5),
        ({"use_sqrt_freq": True}, 0.0),
        ({"weight_sample": True, "use_sqrt_freq": True, "repeated_aug": True}, 0.0),
    ],
)
def test_they_are_those_of_the_sampler_that_the_host_builds(args, power: float) -> None:
    weights = COUNTS[TARGETS] ** -power
    sampler = torch.utils.data.WeightedRandomSampler(weights.tolist(), len(TARGETS))
    expected = expected_draws(sampler, TARGETS, 4)
    found, _ = draws_of_run(argparse.Namespace(**args), TARGETS, 4)
    assert torch.allclose(found / found.sum(), expected / expected.sum())


def test_a_re_weighted_runs_are_those_in_its_checkpoint() -> None:
    draws = torch.tensor([4.0, 2.0, 0.0, 1.0], dtype=torch.float64)
    found, source = draws_of_run(argparse.Namespace(), TARGETS, 4, {"weightings": {"image_text": {"draws": draws}}})
    assert torch.equal(found, draws)
    assert "checkpoint" in source


NO_DRAWS = [[1, 2, 3, 4], torch.ones(5), torch.zeros(4), torch.tensor([1, 1, 1, -1.0]), torch.full((4,), torch.nan)]
NO_STATES = [7, {}, {"weightings": {}}, {"weightings": []}, {"weightings": {"a": {}}}]


@pytest.mark.parametrize("state", [*NO_STATES, *({"weightings": {"a": {"draws": draws}}} for draws in NO_DRAWS)])
def test_a_state_that_is_none_is_passed_over(state) -> None:
    found, source = draws_of_run(argparse.Namespace(), TARGETS, 4, state)
    assert torch.equal(found, COUNTS)
    assert "uniformly" in source
