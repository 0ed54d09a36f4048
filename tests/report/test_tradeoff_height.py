"""The point of a curve with a given many-shot accuracy."""

import numpy as np
import pytest

from vlltr_plugin.report.tradeoff.spans import Curve


@pytest.mark.parametrize(("few", "expected"), [(41.0, 1), (44.9, 2), (48.0, 3), (39.0, 1)])
def test_on_a_level_stretch_the_point_nearest_in_few_shot_accuracy_counts(few, expected):
    curve = Curve(
        np.arange(5.0),
        np.array([90.0, 80.0, 80.0, 80.0, 70.0]),
        np.array([30.0, 40.0, 45.0, 50.0, 55.0]),
        np.array([60.0, 61.0, 62.0, 63.0, 62.0]),
    )
    assert curve.at_many(80.0, few, 62.5) == expected
