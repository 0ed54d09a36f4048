from dataclasses import fields, replace

import pytest

from vlltr_plugin.cifar_lt.command import PRESETS
from vlltr_plugin.cifar_lt.results import SETTING
from vlltr_plugin.cifar_lt.training import Schedule


def test_the_full_recipe_is_the_papers():
    schedule = Schedule()
    assert schedule.start_epoch == 160
    assert [schedule.rate_in(epoch) for epoch in (0, 159, 160, 179, 180, 199)] == pytest.approx(
        [0.1, 0.1, 1e-3, 1e-3, 1e-5, 1e-5]
    )
    assert (schedule.batch_size, schedule.momentum, schedule.weight_decay) == (100, 0.9, 5e-4)


def test_the_short_preset_is_the_recipe_scaled():
    schedule = PRESETS["short"]
    assert (schedule.epochs, schedule.start_epoch, schedule.drops) == (30, 24, (24, 27))
    assert [epoch for epoch in range(30) if schedule.evaluates(epoch)] == [5, 11, 17, 23, *range(24, 30)]


def test_the_warm_up_ends_before_the_epoch_whose_statistics_count():
    assert Schedule().warm_up == 159
    assert Schedule(epochs=10, start_epoch=1).warm_up == 0
    assert Schedule(epochs=10, start_epoch=40).warm_up == 9


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"evaluate_every": 0}, {"mixup": -1.0}, {"mixup": float("nan")}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="Expected"):
        Schedule(**wrong)


@pytest.mark.parametrize("field", [field.name for field in fields(Schedule)])
def test_every_field_that_affects_training_is_part_of_the_run_identity(field):
    other = {"epochs": 7, "start_epoch": 3, "sampler": "sqrt", "mixup": 0.5, "batch_size": 9, "amp": True}
    looks = {"evaluate_every": 5, "compile": True}
    changed = replace(Schedule(), **{field: {**other, **looks}[field]})
    assert (changed.labels() == Schedule().labels()) == (field in looks)
    assert tuple(Schedule().labels()) == SETTING
