"""The arrays of an epoch as an .npz file in the run's folder."""

import os
import tempfile
from pathlib import Path

import numpy as np
from torch import Tensor

FOLDER = "reweight"


def write_arrays(output_dir: Path, epoch: int, arrays: dict[str, Tensor]) -> Path:
    """Writes `reweight/epoch_0007.npz`: whole or not at all.

    Args:
        output_dir: the run's folder.
        epoch: the epoch that ended, from 0.
        arrays: name to tensor.

    Returns:
        The file.

    Raises:
        OSError: when it cannot be written; nothing partial is left behind.
    """
    folder = output_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"epoch_{epoch:04d}.npz"
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".npz")
    plain = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **plain)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path
