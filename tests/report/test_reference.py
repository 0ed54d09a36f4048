"""The published numbers."""

import pytest

from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.compare import find_reference, reference_names


def test_all_six_are_there_and_class_volume_is_ahead_except_on_many_shot():
    assert len(reference_names()) == 6
    for name in reference_names():
        baseline, ours = find_reference(name).results.values()
        more = {key: ours[key] - baseline[key] for key in ("overall", "many", "medium", "few")}
        assert more["overall"] > 0 > more["many"]
        assert more["few"] > more["medium"] > 0


@pytest.mark.parametrize(
    ("name", "overall", "few", "overhead"),  # overhead in percent as Table 6 prints it
    [
        ("imagenet_lt/r50", 70.3, 55.2, -4.2),
        ("imagenet_lt/vit16", 77.4, 64.9, 0.4),
        ("places_lt/r50", 48.7, 48.1, -4.9),
        ("places_lt/vit16", 50.8, 50.0, 0.7),
        ("inat2018/r50", 76.4, 76.4, 2.6),
        ("inat2018/vit16", 78.0, 77.1, 3.7),
    ],
)
def test_tables_5_and_6(name, overall, few, overhead):
    baseline, ours = find_reference(name).results.values()
    assert (ours["overall"], ours["few"]) == (overall, few)
    assert round(100 * (ours["training_seconds"] / baseline["training_seconds"] - 1), 1) == overhead


def test_the_configs_name_of_inaturalist_works_too():
    assert find_reference("inat18/r50") == find_reference("inat2018/r50")


@pytest.mark.parametrize("name", ["imagenet_lt", "imagenet_lt/", "r50", "cifar/r50", ""])
def test_other_names_are_refused_with_the_list(name):
    with pytest.raises(ReportError, match="places_lt/vit16"):
        find_reference(name)
