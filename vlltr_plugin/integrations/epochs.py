"""Base class of both callbacks: ends the epochs of a criterion, and records them if there is a folder."""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsFloat

from vlltr_plugin.core.arguments import check_whole
from vlltr_plugin.core.criterion import Criterion, check_criterion
from vlltr_plugin.core.epoch_statistics import LOGGED, Statistics
from vlltr_plugin.core.ranks import is_first_rank
from vlltr_plugin.runs.log import LOG, METRICS, Numbers, append_line, numbers_of
from vlltr_plugin.training.messages import info
from vlltr_plugin.training.recorder import RunRecorder

Metrics = Callable[[Mapping[str, Any]], Mapping[str, SupportsFloat]]

OF_EVALUATION = re.compile(r"(?:eval|val|valid|validation|test)[_/](\w+)")
ACCURACY = ("accuracy", "acc")
LARGEST_SHARE = 1.00001  # a float32 mean may round to more than 1


def evaluation_metrics(found: Mapping[str, Any]) -> dict[str, SupportsFloat]:
    """Numbers of a trainer's evaluation under the names of `RunRecorder.end_epoch`; others are left out.

    `eval_` or `val_` (`valid_`, `validation_`, `test_`; also `val/`) stands before `loss`, `overall`, `many`, `medium`
    and `few`, in percent, or before `accuracy` or `acc`, which is `overall` as a share of 1; ValueError above 1.
    """
    metrics: dict[str, SupportsFloat] = {}
    for name, value in found.items():
        of_evaluation = OF_EVALUATION.fullmatch(name)
        kind = of_evaluation[1] if of_evaluation else ""
        if kind in METRICS:
            metrics[kind] = value
        elif kind in ACCURACY:
            if float(value) > LARGEST_SHARE:
                raise ValueError(
                    f"Expected {name} as a share of 1 but got {float(value):g}: return an accuracy in percent as "
                    f"{name.removesuffix(kind)}overall, or give the callback metrics=."
                )
            metrics["overall"] = 100 * float(value)
    return metrics


class EpochCallback:
    """Ends the epochs of a criterion in a trainer's loop, and records them if there is a folder."""

    def __init__(
        self,
        criterion: Criterion,
        name: str = "",
        steps_per_epoch: int | None = None,
        folder: str | Path | None = None,
        metrics: Metrics = evaluation_metrics,
        groups: str | Sequence[int] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        check_criterion(criterion)
        # Unwrapped after `torch.compile`, so that the state has the same names as without it.
        criterion = getattr(criterion, "_orig_mod", criterion)
        if not isinstance(name, str) or (name and not name.isidentifier()):
            raise ValueError(f"Expected name to be a word (letters, digits, _) but got {name!r}.")
        if steps_per_epoch is not None:
            check_whole("steps_per_epoch", steps_per_epoch, least=1)
        self.criterion, self._name, self._steps, self._metrics = criterion, name, steps_per_epoch, metrics
        self._recorder = None
        if folder is not None:
            self._recorder = RunRecorder(folder, criterion, groups=groups, class_names=class_names)
        self._statistics: Statistics = {}
        self._running = False  # from the start of a training until it ends without error
        self._in_epoch = False  # True after the first step of the epoch in progress
        self._rest = False  # True if another process has trained (and observed) the beginning of the epoch
        self._drawn = criterion.drawn  # replaced at the end of each epoch
        self._evaluated: dict[str, SupportsFloat] = {}
        self._line: Numbers = {}
        self._ended_at = -1

    @property
    def statistics(self) -> Statistics:
        """The statistics of the last epoch that ended."""
        return self._statistics

    def _begin(self, new: bool, again: bool) -> None:
        """Begins a training after the state is loaded; `new` for a new run, `again` after an interrupted training."""
        self._drawn, self._evaluated, self._ended_at = self.criterion.drawn, {}, -1
        if self._recorder is None:
            return
        if not new:  # the state beside the model's checkpoint applies, not that of the folder
            state = copy.deepcopy(self.criterion.state_dict())
            self._recorder.resume(self.criterion.weighting.epoch)
            self.criterion.load_state_dict(state)
            return
        if not again and (last := self._recorder.last_epoch()) >= 0:
            raise ValueError(
                f"Expected a new folder but {self._recorder.folder} holds a run up to epoch {last}: give the callback "
                "another folder, or resume from a checkpoint of that run."
            )
        self._recorder.resume(0)

    def _load(self, state: Mapping[str, Any]) -> None:
        """Loads the criterion's state, also one saved under the names that `torch.compile` gives."""
        self.criterion.load_state_dict({name.removeprefix("_orig_mod."): value for name, value in state.items()})

    def _end(self, step: int, epoch: int | None = None, stopped: bool = False) -> Statistics:
        """Ends an epoch after a trainer's step, on every rank; returns its numbers by their names in the log.

        `stopped` says that training stopped before the data of the epoch ended.
        """
        self._refuse_another_end()
        weighting = self.criterion.weighting
        ended = weighting.epoch if epoch is None else epoch
        # Radii of a whole epoch are better than those of a part, in which most classes have few samples.
        if weighting.uses_logits and (stopped or (self._rest and weighting.has_radii)):
            part = "only the rest of" if self._rest else "not all of"
            why = "training stopped" if stopped else "the run resumed"
            radii = "the radii stay" if weighting.has_radii else "there are no radii, and the weights stay 1"
            shorter = " For shorter epochs give ReweightCallback steps_per_epoch." if stopped else ""
            info(f"{part} epoch {ended} was observed, since {why} inside it: {radii}.{shorter}")
            self.criterion.keep_radii()
        if self._recorder is None:
            self._statistics = self.criterion.end_epoch(epoch)
        else:
            self._statistics = self._recorder.end_epoch(epoch, **self._evaluated)
        self._drawn, self._ended_at = self.criterion.drawn, step
        numbers = {f"{LOGGED}{name}": value for name, value in self._statistics.items()}
        self._line, self._evaluated = {"epoch": ended, **numbers, **numbers_of(self._evaluated)}, {}
        self._in_epoch = self._rest = False
        return self._logged()

    def _logged(self) -> Statistics:
        """The numbers of the last epoch by their names in the trainer's log."""
        prefix = f"{LOGGED}{self._name}_" if self._name else LOGGED
        return {f"{prefix}{name}": value for name, value in self._statistics.items()}

    def _refuse_another_end(self) -> None:
        """Raises ValueError if something other than this callback has ended an epoch of the criterion."""
        if self.criterion.drawn is not self._drawn:
            raise ValueError(
                "Expected ReweightCallback alone to end the epochs of its criterion but something else does, too: take "
                "criterion.end_epoch() and RunRecorder's end_epoch() out of the loop. What RunRecorder writes comes "
                "from ReweightCallback(criterion, folder=...)."
            )

    def _take_evaluation(self, step: int, found: Mapping[str, Any]) -> None:
        """Stores the numbers of an evaluation: for the epoch that has just ended, or for the one in progress."""
        if self._recorder is None or not self._running:
            return
        metrics = self._metrics(found)
        if step != self._ended_at:
            self._evaluated |= metrics
            return
        self._line |= numbers_of(metrics)
        if is_first_rank():
            try:
                append_line(self._recorder.folder / LOG, self._line)  # replaces the earlier line of this epoch
            except OSError as error:
                info(f"could not write the evaluation of epoch {self._line['epoch']}: {error}.")
