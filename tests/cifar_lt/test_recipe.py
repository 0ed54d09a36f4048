from dataclasses import fields, replace

import pytest

from vlltr_plugin.cifar_lt.command import PRESETS
from vlltr_plugin.cifar_lt.recipe import Recipe
from vlltr_plugin.cifar_lt.results import SETTING


def test_the_full_recipe_is_the_papers():
    recipe = Recipe()
    assert recipe.start_epoch == 160
    assert [recipe.rate_in(epoch) for epoch in (0, 159, 160, 179, 180, 199)] == pytest.approx(
        [0.1, 0.1, 1e-3, 1e-3, 1e-5, 1e-5]
    )
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay) == (100, 0.9, 5e-4)


def test_the_short_preset_is_the_recipe_scaled():
    recipe = PRESETS["short"]
    assert (recipe.epochs, recipe.start_epoch, recipe.drops) == (30, 24, (24, 27))
    assert [epoch for epoch in range(30) if recipe.evaluates(epoch)] == [5, 11, 17, 23, *range(24, 30)]


def test_the_warm_up_ends_before_the_epoch_whose_statistics_count():
    assert Recipe().warm_up == 159
    assert Recipe(epochs=10, start_epoch=1).warm_up == 0
    assert Recipe(epochs=10, start_epoch=40).warm_up == 9


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"evaluate_every": 0}, {"mixup": -1.0}, {"mixup": float("nan")}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="Expected"):
        Recipe(**wrong)


@pytest.mark.parametrize("field", [field.name for field in fields(Recipe)])
def test_every_field_that_changes_what_is_trained_tells_runs_apart(field):
    other = {"epochs": 7, "start_epoch": 3, "sampler": "sqrt", "mixup": 0.5, "batch_size": 9, "amp": True}
    looks = {"evaluate_every": 5, "compile": True}
    changed = replace(Recipe(), **{field: {**other, **looks}[field]})
    assert (changed.labels() == Recipe().labels()) == (field in looks)
    assert tuple(Recipe().labels()) == SETTING
