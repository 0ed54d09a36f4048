"""What the end of an epoch gives to a run's log and files: its numbers, its arrays, and the state of a criterion.

A criterion's state stands among the arrays of an epoch's file, so that one file is written, whole, for both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlltr_plugin.core.epoch_statistics import NAMES
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.runs.epoch_files import BROKEN, STATE

Statistics = dict[str, float | int | None]


def summary(weighting: Weighting, in_force: Tensor, drawn: Tensor) -> Statistics:
    """The statistics of an epoch that has just ended, every name of `epoch_statistics.NAMES` among them."""
    known = weighting.statistics(in_force, drawn)
    return {name: known.get(name) for name in NAMES}


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


def state_arrays(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """A state dict as arrays for an .npz file; bfloat16, which numpy lacks, as float32."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return {
        f"{STATE}{name}": value.float() if value.dtype == torch.bfloat16 else value for name, value in tensors.items()
    }


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in an epoch's file; never unpickles.

    Raises:
        ValueError: when the file is broken or holds no state.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            state = {
                name.removeprefix(STATE): torch.from_numpy(archive[name])
                for name in archive.files
                if name.startswith(STATE)
            }
    except (*BROKEN, OSError, TypeError) as error:
        raise ValueError(
            f"Expected the state of a re-weighting in {path} but could not read it ({error}): go on from an earlier "
            "epoch with resume(next_epoch), and the model's checkpoint of that epoch."
        ) from error
    if not state:
        raise ValueError(
            f"Expected the state of a re-weighting in {path} but it holds arrays only: it was not written by "
            "RunRecorder. Start in a new folder."
        )
    return state
