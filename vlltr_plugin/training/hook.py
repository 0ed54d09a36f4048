"""Ends the epochs of a run and writes its folder: `Session`, and the hooks that a host's inserted lines call."""

import copy
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlltr_plugin import __version__
from vlltr_plugin.core import epoch_statistics
from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.epoch_statistics import NAMES, SECONDS
from vlltr_plugin.core.ranks import refuse_differing_ranks
from vlltr_plugin.core.saved_state import refuse_other_settings
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.runs.epoch_files import BROKEN, STATE, EpochWriter, RunIdentity, identity_of
from vlltr_plugin.training.host_criterion import HostCriterion
from vlltr_plugin.training.messages import info, print_warnings
from vlltr_plugin.training.settings import KEY, LOSS_WEIGHT, Settings

Statistics = dict[str, float | int | None]  # numbers by their names in a host's log; None if unknown
RUN = "run"  # key in a checkpoint's state for the identity of the run that saved it, see `runs.epoch_files`
NOT_CALLED = (
    "Expected the training to call the criterion as `attach` has left it but it was replaced, in eval mode or never "
    f"called: this run is not re-weighted as asked. Leave the criterion alone after the inserted line, or {KEY} out."
)
WEIGHTS_TOLERANCE = 1e-4  # relative tolerance of saved weights against those computed from their radii


class Session:
    """Ends the epochs of criteria, keyed by the logits that feed them; writes the run's files if it has a folder."""

    def __init__(self, criteria: Mapping[str, Criterion], files: EpochWriter | None, without: str) -> None:
        self.criteria, self.files = criteria, files
        self._without, self._warned = without, False

    def end_epoch(
        self, epoch: int, shared: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, epoch_statistics.Statistics], dict[str, Tensor]]:
        """Ends an epoch; returns each criterion's numbers and the file's arrays. ValueError if ranks differ or fail."""
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
        """Writes the files of an epoch that has ended; if that fails, warns once."""
        if self.files is None:
            return
        try:
            self.files.begin(epoch)
            write(self.files)
        except OSError as error:
            if not self._warned:
                info(
                    f"could not write epoch {epoch} into {self.files.folder} ({error}): training continues without "
                    f"{self._without}. Writing is tried again after each epoch; this warning is shown once."
                )
            self._warned = True


def arrays_of(name: str, weighting: Weighting, in_force: Tensor, to_come: Tensor) -> dict[str, Tensor]:
    """The arrays of a weighting in an epoch's file."""
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
    """The state dict in an epoch's file, without unpickling; ValueError if there is none."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = [name for name in archive.files if name.startswith(STATE)]
            state = {name.removeprefix(STATE): torch.from_numpy(archive[name]) for name in names}
    except (*BROKEN, OSError, TypeError) as error:
        raise ValueError(
            f"Expected the state of a re-weighting in {path} but could not read it ({error}): resume from an earlier "
            "epoch with resume(next_epoch), and the model's checkpoint of that epoch."
        ) from error
    if not state:
        raise ValueError(
            f"Expected the state of a re-weighting in {path} but it holds arrays only: it was not written by "
            "RunRecorder. Start in a new folder."
        )
    return state


class Hook:
    """The interface of epoch hooks, and the hook of a run that is not re-weighted: it changes nothing.

    Args:
        trains: False if nothing is trained (`--eval`); then a state in a checkpoint causes no message.
    """

    weightings: Mapping[str, Weighting] = MappingProxyType({})  # keyed by their logits, the primary one first

    def __init__(self, trains: bool = True) -> None:
        self._trains = trains

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Prints a message if a checkpoint of the host holds a state; does not load it."""
        if self._trains and KEY in checkpoint:
            info("this checkpoint holds a re-weighting state, but the config has no `reweight`: weights stay 1.")

    def begin_epoch(self, epoch: int) -> None:
        """Applies the weights for this epoch."""

    def end_epoch(self, epoch: int) -> Statistics:
        """Ends an epoch of training; returns the numbers for the host's log."""
        return {}

    def checkpoint(self) -> dict[str, Any]:
        """The entry for the host's checkpoint."""
        return {}


class EpochHook(Hook):
    """The epoch hook of a re-weighted run: computes weights, gives numbers for the log, writes arrays, keeps the state.

    Args:
        settings: what the config says.
        criterion: the criterion that replaces the host's; its first criterion is the primary one.
        output_dir: the run's folder; None writes no arrays.
        clean_pass: runs the clean pass, for `source="clean_pass"`.
    """

    def __init__(
        self,
        settings: Settings,
        criterion: HostCriterion,
        output_dir: Path | None = None,
        clean_pass: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._settings, self._every, self._clean_pass = settings.state(), settings.every, clean_pass
        self._start = "margins start with equal radii" if settings.adjusts else "weights start at 1"
        self._session = Session(criterion.criteria, None, without="its arrays")
        self._resumed_from: RunIdentity | None = None
        self.weightings: Mapping[str, Weighting] = {name: own.weighting for name, own in criterion.criteria.items()}
        if output_dir is not None:
            self.write_to(output_dir)

    def write_to(self, output_dir: Path) -> None:
        """Sets the run's folder if it is not known yet; does nothing the second time."""
        if self._session.files is None:
            self._session.files = EpochWriter(output_dir)
            self._session.files.resume_from(self._resumed_from)

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Loads the state from a checkpoint; ValueError if it does not fit, and nothing is changed then."""
        state = checkpoint.get(KEY)
        if state is None:
            measured = next(iter(self.weightings.values())).uses_logits
            info(f"this checkpoint holds no re-weighting state: {self._start if measured else 'none is needed'}.")
            return
        if not isinstance(state, dict) or not all(isinstance(state.get(k), dict) for k in ("settings", "weightings")):
            raise ValueError(
                f"Expected checkpoint[{KEY!r}] to be a state of this plug-in but it is damaged or from other code."
            )
        saved = state["weightings"]
        try:
            before_forms = {"form": LOSS_WEIGHT}  # saved by a version that had this form only
            refuse_other_settings(before_forms | state["settings"], self._settings)
            for name, weighting in self.weightings.items():
                weighting.check_state(saved.get(name))
                _refuse_other_weights(weighting, saved[name])
        except ValueError as error:
            version = state.get("version")
            if version == __version__:
                raise
            known = f"version {version}" if isinstance(version, str) else "an unknown version"
            raise ValueError(
                f"{error} The state was saved by {known[:40]} of vlltr-plugin, this is {__version__}: if nothing "
                "else differs, resume with that version."
            ) from error
        for name, weighting in self.weightings.items():
            weighting.load_state_dict(saved[name])
        self._resumed_from = identity_of(state.get(RUN))
        if self._session.files is not None:
            self._session.files.resume_from(self._resumed_from)
        primary = next(iter(self._session.criteria.values()))
        largest = float(primary.in_force().max())
        info(f"resumed the weights in force from epoch {primary.weighting.epoch} on (largest {largest:.4g}).")

    def begin_epoch(self, epoch: int) -> None:
        """Applies the weights for this epoch, also if a resumed run skipped to it."""
        for weighting in self.weightings.values():
            if weighting.epoch != epoch:
                weighting.begin_epoch(epoch)

    def end_epoch(self, epoch: int) -> Statistics:
        """Ends an epoch of training on every rank; `Criterion.end_epoch` says what the numbers are."""
        start = time.perf_counter()
        with print_warnings():
            if self._clean_pass is not None and (epoch + 1) % self._every == 0:
                self._clean_pass()
            elif self._clean_pass is not None:
                for criterion in self._session.criteria.values():
                    criterion.keep_radii()
            by_name, arrays = self._session.end_epoch(epoch, self._settings)
        statistics: Statistics = {}
        for name, numbers in by_name.items():
            prefix = f"{KEY}_{name}_" if statistics else f"{KEY}_"  # empty until the primary one has radii
            statistics |= {prefix + key: numbers.get(key) for key in NAMES}
        if statistics[f"{KEY}_drawn_alpha"] is None:
            info(f"warning: {NOT_CALLED}")
        self._session.write(epoch, lambda files: files.write(epoch, arrays))
        return {**statistics, f"{KEY}_{SECONDS}": time.perf_counter() - start}

    def checkpoint(self) -> dict[str, Any]:
        """The entry for the host's checkpoint: plain values and tensors, O(C), and the run's identity as text."""
        weightings = {name: weighting.plain_state() for name, weighting in self.weightings.items()}
        files = self._session.files
        run = {} if files is None or files.run is None else {RUN: str(files.run)}
        settings = dict(self._settings)
        return {KEY: {"version": __version__, "settings": settings, "weightings": weightings, **run}}


def _refuse_other_weights(weighting: Weighting, state: dict[str, Any]) -> None:
    """Raises ValueError if saved weights do not match the radii saved with them."""
    twin = copy.deepcopy(weighting)
    twin.load_state_dict(state)
    twin.begin_epoch(twin.epoch)  # as the run that saved it did
    saved, expected = state["weights"].cpu(), twin.weights.cpu()
    if not torch.allclose(saved, expected, rtol=WEIGHTS_TOLERANCE, atol=0.0):
        raise ValueError(
            "Expected a state whose weights follow from its radii but they do not (largest: saved "
            f"{float(saved.max()):.4g}, from the radii {float(expected.max()):.4g}): it is damaged or was changed. "
            "Take an older checkpoint, or start in a new folder."
        )


@contextmanager
def preserve_rng_and_mode(model: nn.Module) -> Iterator[None]:
    """Sets evaluation mode for an extra forward pass, then restores the modes of all modules and the random state."""
    modes = [(module, module.training) for module in model.modules()]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    model.eval()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
