from dataclasses import fields, replace

import pytest

from vlltr_plugin.cifar_lt.command import PRESETS
from vlltr_plugin.cifar_lt.results import SETTING
from vlltr_plugin.cifar_lt.training import Schedule


def test_the_full_recipe_is_the_papers_and_the_short_one_that_scaled():
    full, short = PRESETS["full"], PRESETS["short"]
    rates = [full.rate_in(epoch) for epoch in (0, 159, 160, 179, 180, 199)]
    assert rates == pytest.approx([0.1, 0.1, 1e-3, 1e-3, 1e-5, 1e-5])
    assert (full.start_epoch, full.batch_size, full.momentum, full.weight_decay) == (160, 100, 0.9, 5e-4)
    assert (short.epochs, short.start_epoch, short.drops) == (30, 24, (24, 27))
    assert [epoch for epoch in range(30) if short.evaluates(epoch)] == [5, 11, 17, 23, *range(24, 30)]


def test_the_warm_up_ends_before_the_epoch_whose_statistics_count():
    schedules = Schedule(), Schedule(epochs=10, start_epoch=1), Schedule(epochs=10, start_epoch=40)
    assert [schedule.warm_up for schedule in schedules] == [159, 0, 9]


@pytest.mark.parametrize("name", ["epochs", "batch_size", "evaluate_every"])
def test_settings_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match=f"Expected {name} to be 1 or more"):
        Schedule(**{name: 0})


def test_every_field_that_affects_training_is_part_of_the_run_identity():
    same = {"evaluate_every": 5, "compile": True}
    others = {"epochs": 7, "start_epoch": 3, "sampler": "sqrt", "mixup": 0.5, "batch_size": 9, "amp": True, **same}
    assert set(others) == {field.name for field in fields(Schedule)}
    for name, value in others.items():
        assert (replace(Schedule(), **{name: value}).labels() == Schedule().labels()) == (name in same), name
    assert tuple(Schedule().labels()) == SETTING
