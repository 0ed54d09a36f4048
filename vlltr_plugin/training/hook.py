"""The epoch hook: what the inserted lines of the host call after `attach`."""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from vlltr_plugin.core.draws import DrawnEpochs
from vlltr_plugin.core.ranks import refuse_differing_ranks, sum_over_ranks
from vlltr_plugin.core.saved_state import refuse_other_settings
from vlltr_plugin.core.weighting import Weighting
from vlltr_plugin.runs.run_identity import EpochWriter, RunIdentity, identity_of
from vlltr_plugin.training.host_criterion import HostCriterion
from vlltr_plugin.training.messages import say, warnings_said
from vlltr_plugin.training.session import Statistics, arrays_of, summary
from vlltr_plugin.training.settings import KEY, LOSS_WEIGHT, Settings

RUN = "run"
"""Key of a state in a checkpoint: the identity of the run that saved it, see `runs.run_identity`."""

WEIGHTS_TOLERANCE = 1e-4
"""Relative: how far saved weights may be off those of their radii when another machine computed them."""


class Hook(Protocol):
    """What the inserted lines of a host call."""

    @property
    def weightings(self) -> Mapping[str, Weighting]:
        """By the name of the logits that feed them, the primary one first; empty when nothing is re-weighted."""

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Takes the state out of a checkpoint of the host."""

    def begin_epoch(self, epoch: int) -> None:
        """Puts the weights for this epoch in force."""

    def end_epoch(self, epoch: int) -> Statistics:
        """Ends an epoch of training; returns what the host logs."""

    def checkpoint(self) -> dict[str, Any]:
        """The entry for the host's checkpoint."""


class NoHook:
    """The hook of a run that is not re-weighted: every call does nothing.

    Args:
        trains: whether anything is trained. If not (`--eval`), a state in a checkpoint is no reason to speak.
    """

    weightings: Mapping[str, Weighting] = MappingProxyType({})

    def __init__(self, trains: bool = True) -> None:
        self._trains = trains

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Says so when a re-weighted run goes on without re-weighting; changes nothing."""
        if self._trains and KEY in checkpoint:
            say("this checkpoint holds a re-weighting state, but the config has no `reweight`: weights stay 1.")

    def begin_epoch(self, epoch: int) -> None:
        """Does nothing."""

    def end_epoch(self, epoch: int) -> Statistics:
        """No statistics."""
        return {}

    def checkpoint(self) -> dict[str, Any]:
        """No entry."""
        return {}


class EpochHook:
    """Ends epochs: folds statistics into weights, logs, writes the arrays, keeps the state.

    Args:
        settings: what the config says.
        criterion: the re-weighted criterion in the host's place.
        weightings: by the name of the logits that feed them; the first is the primary one.
        output_dir: the run's folder, None to write no arrays.
        clean_pass: runs the clean pass, for `source="clean_pass"`.
    """

    def __init__(
        self,
        settings: Settings,
        criterion: HostCriterion,
        weightings: dict[str, Weighting],
        output_dir: Path | None,
        clean_pass: Callable[[], None] | None = None,
    ) -> None:
        self._settings, self._criterion = settings, criterion
        self.weightings: Mapping[str, Weighting] = weightings
        self._clean_pass = clean_pass
        self._writer = None if output_dir is None else EpochWriter(output_dir)
        self._goes_on_from: RunIdentity | None = None
        self._warned_of_disk = False
        self._epochs = DrawnEpochs(self._primary())
        self._said: set[str] = set()

    def write_to(self, output_dir: Path) -> None:
        """Names the run's folder, where it was not known before; does nothing the second time."""
        if self._writer is None:
            self._writer = EpochWriter(output_dir)
            if self._goes_on_from is not None:
                self._writer.go_on_from(self._goes_on_from)

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Takes the state out of a checkpoint of the host.

        Raises:
            ValueError: when the state is damaged or was made with other settings, naming them; nothing is
                changed then.
        """
        state = checkpoint.get(KEY)
        if state is None:
            say("this checkpoint holds no re-weighting state: weights start at 1.")
            return
        if not isinstance(state, dict) or not all(isinstance(state.get(k), dict) for k in ("settings", "weightings")):
            raise ValueError(
                f"Expected checkpoint[{KEY!r}] to be a state of this plug-in but it is damaged or foreign."
            )
        saved = state["weightings"]
        with _version_named(state.get("version")):
            before_forms = {"form": LOSS_WEIGHT}  # of a version that had the one form only
            refuse_other_settings(before_forms | state["settings"], self._settings.state())
            for name, weighting in self.weightings.items():
                weighting.check_state(saved.get(name))
                _refuse_other_weights(weighting, saved[name])
        for name, weighting in self.weightings.items():
            weighting.load_state_dict(saved[name])
        self._goes_on_from = identity_of(state.get(RUN))
        if self._writer is not None:
            self._writer.go_on_from(self._goes_on_from)
        primary = self._primary()
        largest = float(self._in_force(primary).max())
        say(f"resumed the weights in force from epoch {primary.epoch} on (largest {largest:.4g}).")

    def begin_epoch(self, epoch: int) -> None:
        """Puts the weights for this epoch in force, also where a resumed run skipped to it."""
        for weighting in self.weightings.values():
            if weighting.epoch != epoch:
                weighting.begin_epoch(epoch)

    def end_epoch(self, epoch: int) -> Statistics:
        """Ends an epoch of training; every rank has to call it.

        Args:
            epoch: the host's number of the epoch that ends, from 0.

        Returns:
            What the host logs as `train_reweight_*`: `alpha_*`, `expected_alpha` and `drawn_alpha` speak of the
            weights that were in force in this epoch; `log_radius_mean`, `substituted` and `skipped` of the
            statistics that it gave, from which the weights of the next come; `seconds` is the time this call took.
        """
        start = time.perf_counter()
        primary = self._primary()
        shared = {"num_classes": primary.num_classes, "weightings": list(self.weightings), "epoch": epoch}
        refuse_differing_ranks(self._settings.state() | shared, primary.weights.device)
        drawn = sum_over_ranks(self._criterion.take_drawn())
        self._epochs.add(drawn)
        self._compare_epochs()
        in_force = {name: self._in_force(weighting) for name, weighting in self.weightings.items()}
        with warnings_said():
            self._fold(epoch)
        statistics: Statistics = {}
        arrays: dict[str, Tensor] = {"drawn": drawn}
        for name, weighting in self.weightings.items():
            prefix = f"{KEY}_" if weighting is self._primary() else f"{KEY}_{name}_"
            for key, value in summary(weighting, in_force[name], drawn).items():
                statistics[prefix + key] = value
            arrays |= {"counts": weighting.class_counts, "draws": weighting.draws}
            arrays |= arrays_of(name, weighting, in_force[name], self._in_force(weighting))
        self._write(epoch, arrays)
        statistics[f"{KEY}_seconds"] = time.perf_counter() - start
        return statistics

    def checkpoint(self) -> dict[str, Any]:
        """The entry for the host's checkpoint: plain values and tensors, O(C), and the run's identity as text."""
        from vlltr_plugin import __version__

        weightings = {name: weighting.plain_state() for name, weighting in self.weightings.items()}
        run = {RUN: str(self._writer.run)} if self._writer is not None and self._writer.run is not None else {}
        return {KEY: {"version": __version__, "settings": self._settings.state(), "weightings": weightings, **run}}

    def _primary(self) -> Weighting:
        return next(iter(self.weightings.values()))

    def _in_force(self, weighting: Weighting) -> Tensor:
        """Alpha as the loss uses it now, `[C]`; as margins it is that of equal radii where others' weights are 1."""
        return weighting.margins.exp().float() if self._settings.adjusts else weighting.weights.clone()

    def _fold(self, epoch: int) -> None:
        if self._clean_pass is not None:
            if (epoch + 1) % self._settings.every:
                for weighting in self.weightings.values():
                    weighting.begin_epoch(epoch + 1)
                return
            self._clean_pass()
        for weighting in self.weightings.values():
            weighting.end_epoch(epoch)

    def _compare_epochs(self) -> None:
        """Warns, each once, of samples that the class weights do not fit."""
        if self._settings.type == "none":
            return
        if came := self._epochs.other_classes():
            self._warn(
                "other draws",
                "expected the samples that the labels of the training set and its sampler declare but others came: "
                f"{came}. Something behind the sampler draws or relabels (the data set, a collate function), and the "
                "class weights do not fit what is trained on.",
            )
        if longer := self._epochs.first_was_longer():
            self._warn(
                "longer",
                f"expected epochs of one length but {longer}: the radii of the first are also those of passes before "
                "its training, such as a learning-rate finder's.",
            )

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            say(f"warning: {message} This is said once.")

    def _write(self, epoch: int, arrays: dict[str, Tensor]) -> None:
        if self._writer is None:
            return
        try:
            self._writer.begin(epoch)
            self._writer.write(epoch, arrays)
        except OSError as error:
            if not self._warned_of_disk:
                say(
                    f"could not write the arrays of epoch {epoch} ({error}): training goes on without them, and each "
                    "later epoch tries again. This is said once."
                )
            self._warned_of_disk = True


@contextlib.contextmanager
def _version_named(version: object) -> Iterator[None]:
    """Adds to an error that the state is another version's, which may be all that is wrong."""
    from vlltr_plugin import __version__

    try:
        yield
    except ValueError as error:
        if version == __version__:
            raise
        known = f"version {version}" if isinstance(version, str) else "an unknown version"
        raise ValueError(
            f"{error} The state was saved by {known[:40]} of vlltr-plugin, this is {__version__}: if nothing else "
            "differs, go on with that one."
        ) from error


def _refuse_other_weights(weighting: Weighting, state: dict[str, Any]) -> None:
    """Raises ValueError when checked weights are not those that the radii saved with them lead to."""
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
