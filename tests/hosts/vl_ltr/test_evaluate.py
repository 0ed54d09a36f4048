"""The draws that an evaluated run was trained with, from its checkpoint or from the host's sampler."""

import numpy as np
import pytest
import torch
from torch.utils.data import RandomSampler, WeightedRandomSampler

from vlltr_plugin.hosts.vl_ltr.evaluate import draws_of_run

TARGETS = [0] * 16 + [1] * 4 + [3]
COUNTS = np.array([16.0, 4.0, 0.0, 1.0])


def test_the_draws_of_a_re_weighted_run_are_those_in_its_checkpoint() -> None:
    draws = torch.tensor([4.0, 2.0, 0.0, 1.0], dtype=torch.float64)
    found = draws_of_run(RandomSampler(TARGETS), TARGETS, 4, {"weightings": {"image_text": {"draws": draws}}})
    assert found["draws"].tolist() == draws.tolist()
    assert "checkpoint" in found["draws_from"]


@pytest.mark.parametrize(
    "draws",
    [[1, 2, 3, 4], torch.ones(5), torch.zeros(4), torch.tensor([1, 1, 1, -1.0]), torch.tensor([1, 1, 1, torch.nan])],
)
def test_draws_that_are_damaged_are_passed_over_for_the_samplers(draws: object) -> None:
    damaged = [{"weightings": {"a": {"draws": draws}}}, {"weightings": {"a": {}}}, {"weightings": []}, {}, 7, None]
    sampler = WeightedRandomSampler([0.25] * 16 + [0.5] * 4 + [1.0], len(TARGETS))  # by 1/sqrt(n)
    for state in damaged:
        found = draws_of_run(sampler, TARGETS, 4, state)
        assert found["draws"] / found["draws"].sum() == pytest.approx(np.sqrt(COUNTS) / np.sqrt(COUNTS).sum())
        assert "WeightedRandomSampler" in found["draws_from"]


def test_the_draws_of_another_sampler_are_not_known() -> None:
    assert draws_of_run(object(), TARGETS, 4, None) == {"draws_from": ""}
