"""Principal axes thousands of times shorter than the first are measured, not drowned."""

import numpy as np
import pytest
import torch

from vlltr_plugin import ClassVolume


@pytest.mark.parametrize("shortest", [1e-2, 1e-4])
def test_log_radius_along_all_axes_is_that_of_the_covariance_in_float64(shortest: float) -> None:
    rng = np.random.default_rng(0)
    classes, images = 6, 120
    weighting = ClassVolume([images] * classes, variant="pv")
    scales, expected = np.geomspace(1, shortest, classes), []
    for label in range(classes):
        rotation = np.linalg.qr(rng.standard_normal((classes, classes)))[0]
        rows = ((1 + label) * rng.standard_normal((images, classes)) * scales @ rotation).astype(np.float32)
        expected.append(np.log(np.linalg.eigvalsh(np.cov(rows.astype(np.float64).T))).mean() / 2)
        for part in np.array_split(rows, 5):
            weighting.observe(torch.from_numpy(part), torch.full((len(part),), label))
    weighting.end_epoch()
    assert not weighting.substituted.any()
    np.testing.assert_allclose(weighting.log_radius64.numpy(), expected, atol=1e-5)
