"""A session ends the epochs of a run's criteria and writes its folder, for RunRecorder and for the hosts' hooks."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.epoch_statistics import Statistics
from vlltr_plugin.core.ranks import refuse_differing_ranks
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.runs.epoch_files import BROKEN, STATE
from vlltr_plugin.runs.run_identity import EpochWriter
from vlltr_plugin.training.messages import info


class Session:
    """Ends the epochs of criteria, by the name of the logits that feed them, and writes their files, if any."""

    def __init__(self, criteria: Mapping[str, Criterion], files: EpochWriter | None, without: str) -> None:
        self.criteria, self.files = criteria, files
        self._without, self._warned = without, False

    def end_epoch(
        self, epoch: int, shared: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Statistics], dict[str, Tensor]]:
        """Ends an epoch: numbers of each criterion and arrays for the file; ValueError where ranks differ or fail."""
        if not self.criteria:
            return {}, {}
        in_force = {name: criterion.in_force() for name, criterion in self.criteria.items()}
        card = dict(shared or {})
        for name, criterion in self.criteria.items():
            own = criterion.must_agree(epoch)
            card |= {f"{name}: {key}": own[key] for key in own} if len(self.criteria) > 1 else own
        refuse_differing_ranks(card, next(iter(self.criteria.values())).weighting.weights.device)
        statistics = {name: criterion.fold(epoch) for name, criterion in self.criteria.items()}
        arrays: dict[str, Tensor] = {}
        for name, criterion in self.criteria.items():
            weighting = criterion.weighting
            arrays |= {"counts": weighting.class_counts, "draws": weighting.draws, "drawn": criterion.drawn}
            arrays |= arrays_of(name, weighting, in_force[name], criterion.in_force())
        return statistics, arrays

    def write(self, epoch: int, write: Callable[[EpochWriter], None]) -> None:
        """Writes what an epoch left, once it has ended; says once where that fails."""
        if self.files is None:
            return
        try:
            self.files.begin(epoch)
            write(self.files)
        except OSError as error:
            if not self._warned:
                info(
                    f"could not write epoch {epoch} into {self.files.folder} ({error}): training goes on without "
                    f"{self._without}; each later epoch tries again. This is said once."
                )
            self._warned = True


def arrays_of(name: str, weighting: Weighting, in_force: Tensor, to_come: Tensor) -> dict[str, Tensor]:
    """What a weighting gives to an epoch's file."""
    measured = weighting.uses_logits and weighting.has_radii
    arrays = {
        f"weights_{name}": in_force,
        f"next_weights_{name}": to_come,
        f"log_radius_{name}": weighting.log_radius64,
        f"substituted_{name}": weighting.substituted,
        f"samples_{name}": weighting.samples if measured else torch.zeros_like(weighting.class_counts),
        f"bias_{name}": weighting.small_sample_bias() if measured else None,
    }
    return {key: value for key, value in arrays.items() if value is not None}


def state_arrays(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """A criterion's state dict as arrays of an epoch's file; bfloat16, which numpy lacks, as float32."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return {
        f"{STATE}{name}": value.float() if value.dtype == torch.bfloat16 else value for name, value in tensors.items()
    }


def read_epoch_state(path: Path) -> dict[str, Tensor]:
    """The state dict in an epoch's file, without unpickling; ValueError where there is none."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = [name for name in archive.files if name.startswith(STATE)]
            state = {name.removeprefix(STATE): torch.from_numpy(archive[name]) for name in names}
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
