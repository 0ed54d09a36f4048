"""Runs with arrays of made-up epochs, for the tests of inspect."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vlltr_plugin.core.moments import log_sigma_bias
from vlltr_plugin.report.inspect import Inspection, inspect_run
from vlltr_plugin.runs.epoch_files import write_arrays

COUNTS = np.array([300, 120, 100, 99, 50, 21, 20, 9, 4, 2, 1, 0])
DRAWS = np.sqrt(COUNTS) * COUNTS.sum() / np.sqrt(COUNTS).sum()
SAMPLES = np.minimum(COUNTS, DRAWS)
Write = Callable[..., Path]


def epoch_arrays(rng: np.random.Generator, slope: float = -0.2, **more: Any) -> dict[str, Any]:
    """Radii that fall with class size for a negative slope; the two rarest classes substituted."""
    substituted = (COUNTS > 0) & (COUNTS < 3)
    log_radius = slope * np.log(np.maximum(COUNTS, 1)) + 0.05 * rng.standard_normal(len(COUNTS))
    log_radius[substituted] = log_radius[~substituted].mean()
    weights = np.where(COUNTS > 0, np.exp(log_radius) / np.maximum(DRAWS, 1), 1.0)
    weights[COUNTS > 0] *= DRAWS.sum() / (weights * DRAWS).sum()
    return {
        "counts": COUNTS.astype(float),
        "draws": DRAWS,
        "drawn": DRAWS,
        "weights_image_text": weights.astype(np.float32),
        "next_weights_image_text": weights.astype(np.float32),
        "log_radius_image_text": log_radius,
        "substituted_image_text": substituted,
        "samples_image_text": SAMPLES,
        "bias_image_text": log_sigma_bias(torch.from_numpy(np.maximum(SAMPLES, 2))).numpy(),
        **more,
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes epochs as the adapter does; the run's folder."""

    def write(*epochs: dict[str, Any], name: str = "run", first: int = 0) -> Path:
        for number, arrays in enumerate(epochs, start=first):
            tensors = {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}
            write_arrays(tmp_path / name, number, tensors)
        return tmp_path / name

    return write


@pytest.fixture
def run(write: Write) -> Path:
    rng = np.random.default_rng(0)
    return write(*(epoch_arrays(rng) for _ in range(4)))


def one(run: Path, epoch: int | None = None) -> Inspection:
    (inspection,) = inspect_run(run, epoch)
    return inspection
