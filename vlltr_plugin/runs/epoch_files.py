"""The arrays of a run's epochs, `reweight/epoch_*.npz`: written whole, read without trusting them."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlltr_plugin.errors import ReportError
from vlltr_plugin.runs.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor  # reports need no torch

FOLDER = "reweight"
NAME = re.compile(r"epoch_(\d+)\.npz")
ZIP = b"PK\x03\x04"
STATE = "state."
"""Before the names of a criterion's state, which is no array of classes; see `training.session`."""
WEIGHTS = "weights_"  # then the name of the logits that feed them
BROKEN = (ValueError, EOFError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged .npz raises; RuntimeError where a flag says that it is encrypted, or packed in another way."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Weights:
    """What one kind of logits gave in an epoch; arrays `[C]`, None where the file does not have them."""

    in_force: Floats
    """Alpha while the epoch ran."""
    log_radius: Floats
    """Log r as measured in the epoch."""
    substituted: NDArray[np.bool_]
    """Classes that took the mean log radius of the others."""
    samples: Floats
    """Independent samples behind each radius, all 0 where none was measured."""
    next_weights: Floats | None = None
    """Alpha of the epoch after it."""
    bias: Floats | None = None
    """How far few samples put log r below the truth on average."""


@dataclass(frozen=True)
class EpochArrays:
    """The arrays of one epoch; `[C]` each."""

    epoch: int
    """From 0."""
    counts: NDArray[np.int64]
    """Training images n."""
    draws: Floats
    """Expected draws m of an epoch."""
    by_logits: dict[str, Weights]
    """By the name of the logits that feed the weights, as in the file: the first are those in the log."""
    drawn: Floats | None = None
    """Samples that came; None where the file does not have them."""


def write_arrays(output_dir: Path, epoch: int, arrays: Mapping[str, Tensor], comment: str = "") -> Path:
    """Writes `reweight/epoch_0007.npz` with a comment of the archive; after an OSError nothing partial is left."""
    path = output_dir / FOLDER / f"epoch_{epoch:04d}.npz"
    buffer = io.BytesIO()
    plain = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    np.savez(buffer, **plain)  # type: ignore[arg-type]
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = comment.encode()
    write_whole(path, buffer.getvalue())
    return path


def epoch_files(run: Path) -> dict[int, Path]:
    """The files of a run's epochs, in order; ReportError where there are none."""
    if not run.is_dir():
        raise ReportError(f"Expected the folder of a run but {run} is {'a file' if run.exists() else 'not there'}.")
    files = numbered_files(run)
    if not files:
        inside = sorted(folder for folder in run.iterdir() if folder.is_dir() and numbered_files(folder))
        if inside:
            raise ReportError(f"Expected the folder of a run but {run} holds the runs {', '.join(map(str, inside))}.")
        raise ReportError(
            f"Expected {FOLDER}/epoch_*.npz in {run} but found none: only re-weighted runs have them, from the end of "
            "the first epoch on."
        )
    return files


def numbered_files(run: Path) -> dict[int, Path]:
    """As `epoch_files`; empty where there is none."""
    folder = run / FOLDER
    found = [(NAME.fullmatch(path.name), path) for path in folder.glob("epoch_*.npz")] if folder.is_dir() else []
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def read_epoch(epoch: int, path: Path) -> EpochArrays:
    """Reads one file, without unpickling; ReportError where it is broken or holds something else."""
    arrays = _load(path)
    missing = [name for name in ("counts", "draws") if name not in arrays]
    names = [key.removeprefix(WEIGHTS) for key in arrays if key.startswith(WEIGHTS)]
    for name in names:
        needed = [f"{key}_{name}" for key in ("log_radius", "substituted", "samples")]
        missing += [key for key in needed if key not in arrays]
    if missing or not names:
        raise ReportError(
            f"{path}: expected the arrays of an epoch but {', '.join(missing) or 'weights_*'} is missing."
        )
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(shapes.pop()) != 1 or any(array.dtype.kind not in "fiub" for array in arrays.values()):
        raise ReportError(f"{path}: expected one number for each class in every array; this is no file of the plug-in.")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ReportError(f"{path}: expected finite numbers.")
    positive = [arrays[WEIGHTS + name] for name in names]
    if any((weights <= 0).any() for weights in positive) or not ((arrays["counts"] > 0) & (arrays["draws"] > 0)).any():
        raise ReportError(f"{path}: expected positive weights, and a class that has images and is drawn.")
    return EpochArrays(
        epoch=epoch,
        counts=arrays["counts"].astype(np.int64),
        draws=arrays["draws"].astype(np.float64),
        by_logits={name: _weights(arrays, name) for name in names},
        drawn=_optional(arrays, "drawn"),
    )


def _weights(arrays: dict[str, NDArray[Any]], name: str) -> Weights:
    return Weights(
        next_weights=_optional(arrays, f"next_weights_{name}"),
        samples=arrays[f"samples_{name}"].astype(np.float64),
        bias=_optional(arrays, f"bias_{name}"),
        in_force=arrays[WEIGHTS + name].astype(np.float64),
        log_radius=arrays[f"log_radius_{name}"].astype(np.float64),
        substituted=arrays[f"substituted_{name}"].astype(bool),
    )


def _optional(arrays: dict[str, NDArray[Any]], name: str) -> Floats | None:
    return arrays[name].astype(np.float64) if name in arrays else None


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file:
            if file.read(len(ZIP)) != ZIP:
                raise ValueError("it is no .npz archive")
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            return {name: archive[name] for name in archive.files if not name.startswith(STATE)}
    except BROKEN as error:
        reason = " ".join(str(error).split())[:120]
        raise ReportError(f"{path}: expected an .npz of plain arrays but could not read it ({reason}).") from error
