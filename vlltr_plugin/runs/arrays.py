"""The arrays of an epoch as an .npz file in the run's folder."""

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.runs.epoch_arrays import FOLDER
from vlltr_plugin.runs.run_identity import UNNAMED, RunIdentity
from vlltr_plugin.runs.whole_files import write_whole


def write_arrays(output_dir: Path, epoch: int, arrays: dict[str, Tensor], run: RunIdentity = UNNAMED) -> Path:
    """Writes `reweight/epoch_0007.npz`: whole or not at all.

    Raises:
        OSError: when it cannot be written; nothing partial is left behind.
    """
    path = output_dir / FOLDER / f"epoch_{epoch:04d}.npz"
    buffer = io.BytesIO()
    plain = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    np.savez(buffer, **plain)  # type: ignore[arg-type]
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = str(run).encode()
    write_whole(path, buffer.getvalue())
    return path


def arrays_of(name: str, weighting: Weighting, in_force: Tensor, to_come: Tensor) -> dict[str, Tensor]:
    """What a weighting gives to an epoch's file."""
    measured = weighting.uses_logits and weighting.has_radii
    told = {
        f"samples_{name}": weighting.samples if measured else torch.zeros_like(weighting.class_counts),
        f"bias_{name}": weighting.small_sample_bias() if measured else None,
    }
    return {
        f"weights_{name}": in_force,
        f"next_weights_{name}": to_come,
        f"log_radius_{name}": weighting.log_radius64,
        f"substituted_{name}": weighting.substituted,
        **{key: value for key, value in told.items() if value is not None},
    }
