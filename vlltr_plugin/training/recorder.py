"""RunRecorder records the epochs of any training loop, for `vlltr-plugin inspect` and `compare` and to resume."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsFloat, TypeVar, cast

import torch.distributed as dist
from torch import Tensor

from vlltr_plugin.core.arguments import check_whole, warn_caller
from vlltr_plugin.core.criterion import Criterion, check_criterion
from vlltr_plugin.core.epoch_statistics import LOGGED, SECONDS, Statistics
from vlltr_plugin.core.ranks import is_first_rank, world_size
from vlltr_plugin.core.shot_groups import convention_of
from vlltr_plugin.runs.epoch_files import FOLDER, EpochWriter, numbered_files
from vlltr_plugin.runs.files import write_whole
from vlltr_plugin.runs.log import (
    LOG,
    SETTINGS,
    SHOT_GROUPS,
    Numbers,
    append_line,
    cut_log,
    last_epoch,
    numbers_of,
    read_settings,
    settings_as_json,
    write_class_names,
)
from vlltr_plugin.training.hook import Session, read_epoch_state, state_arrays
from vlltr_plugin.training.messages import info
from vlltr_plugin.training.settings import SINGLE, describe_criterion, differences, loss_settings

T = TypeVar("T")


class RunRecorder:
    """Records a run in a folder: each epoch `reweight/epoch_0007.npz` (arrays and state) and a line of `log.txt`.

    `reweight_settings.json` holds the settings of the criterion and yours, which `compare` shows side by side.

    Each file names the run that wrote it. Files of another run, and of epochs that a resume discarded, are neither
    shown nor resumed from. The first rank writes. Arrays are written completely or not at all; a process that is
    killed before it writes the log line loses only that line. Save the model's own checkpoint after `end_epoch`, so
    that the folder holds the state for the next epoch.

    Args:
        folder: the run's folder; the first write creates it.
        criterion: the criterion whose epochs are recorded; None for a baseline with another loss, which logs metrics
            only.
        settings: your own settings by name, such as learning rate and batch size.
        groups: thresholds of the many-, medium- and few-shot classes of the metrics, in training images per class:
            `"50,10"` (many-shot from 50 on, few-shot up to 10), `"upstream"` (100 and 20) or `"others"` (101 and 19).
            `inspect`, `compare` and `evaluate --logits` of this run then use them.
        class_names: names of the C classes, used by `inspect` and `evaluate --logits`.

    Raises:
        TypeError: if `criterion` is not a criterion of the plug-in.
        ValueError: if the plug-in uses a setting's name itself, if a setting cannot be written as JSON, if groups or
            class names do not fit, or, without a criterion, if the folder's `log.txt` is not the log of a run.

    Example:
        >>> recorder = RunRecorder("runs/dv", criterion, settings={"lr": 0.1, "batch size": 128})
        >>> start = recorder.resume()  # resume(checkpoint["epoch"] + 1) if the model resumes from a checkpoint
        >>> for epoch in range(start, 30):
        ...     train_one_epoch(model, criterion)
        ...     statistics = recorder.end_epoch(epoch, overall=91.2, many=96.3, medium=90.1, few=71.0)
        ...     torch.save({"model": model.state_dict(), "epoch": epoch}, "runs/dv/model.pt")
    """

    def __init__(
        self,
        folder: str | Path,
        criterion: Criterion | None = None,
        settings: Mapping[str, Any] | None = None,
        groups: str | Sequence[int] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        # Unwrapped after `torch.compile`, so that settings and state names are the same as without it.
        criterion = getattr(criterion, "_orig_mod", criterion)
        if criterion is not None:
            check_criterion(criterion)
        self.folder, self.criterion = Path(folder), criterion
        own = describe_criterion(criterion)
        self._own = own.keys()
        own |= {} if groups is None else {SHOT_GROUPS: convention_of(groups).numbers}
        if taken := sorted(own.keys() & (settings or {}).keys()):
            raise ValueError(f"Expected settings under names of your own but the plug-in uses {', '.join(taken)}.")
        self.settings = {**own, **(settings or {})}
        settings_as_json(self.settings)
        self._class_names = None if class_names is None else _checked_names(class_names, criterion)
        self._next: int | None = None  # not known before the first epoch or `resume`
        self._resumed = False  # until the first epoch after `resume` ends
        criteria = {} if criterion is None else {SINGLE: criterion}
        self._files = EpochWriter(self.folder)
        self._session = Session(criteria, self._files, without="it, and cannot be resumed from there")
        if is_first_rank():
            try:
                last_epoch(self.folder / LOG)
            except ValueError as error:
                own_folder = f"{error} Give the recorder a folder of its own."
                if criterion is None:
                    raise ValueError(own_folder) from error
                info(f"`compare` will not read this run: {own_folder}")  # no later step checks its log

    def resume(self, next_epoch: int | None = None) -> int:
        """Restores the weights of an epoch exactly; call it on every rank.

        Args:
            next_epoch: the epoch to train next, from 0: the epoch after that of the model's checkpoint. Default: the
                epoch after the last in the folder; 0 in a new folder. When this epoch ends, the old files and log
                lines of it and of later epochs are removed before it is written.

        Returns:
            The epoch to train next. If the folder has no state for it, a warning says that the weights start at 1.

        Raises:
            ValueError: if the state is damaged or its file was renamed, if the criterion's settings differ from those
                of the run (the message names them; `resume(0)` replaces the run), if the folder holds epochs of two
                runs, or if `next_epoch` is not a whole number of at least 0.
        """
        if next_epoch is not None:
            check_whole("next_epoch", next_epoch, least=0)
        start, state = _on_first_rank(lambda: self._find_state(next_epoch))
        if self.criterion is not None:
            self._restore(self.criterion, start, state)
        self._next, self._resumed = start, True
        return start

    def end_epoch(self, epoch: int | None = None, **metrics: SupportsFloat) -> Statistics:
        """Ends the epoch of the criterion and records it; call it on every rank.

        Args:
            epoch: number of the epoch that ends, from 0; default: the epoch after the last that ended.
            metrics: your numbers for the log (accuracies in percent); the first rank writes its own. `compare`
                shows `overall`, `many`, `medium`, `few` and `loss`, and needs `overall` at least.

        Returns:
            The criterion's statistics, see `Criterion.end_epoch`.

        Raises:
            ValueError: if a metric is not a number, an accuracy is outside 0 to 100 or the plug-in uses its name, if
                the epoch has ended before or is not the one that `resume` restored the weights for, or if the folder
                holds another run and `resume` was not called. Nothing is changed then.
        """
        line = numbers_of(metrics)
        if epoch is None:
            epoch = (self._next or 0) if self.criterion is None else self.criterion.weighting.epoch
        else:
            check_whole("epoch", epoch, least=0)
        if self._next is not None:
            self._refuse_another_epoch(epoch, self._next)
        elif self.criterion is not None:
            _on_first_rank(self._refuse_another_run)  # later ranks would find what the first has just written
        elif is_first_rank():  # a baseline needs no other communication between ranks
            self._refuse_another_run()
        started = time.perf_counter()
        by_name, arrays = self._session.end_epoch(epoch)
        statistics = by_name.get(SINGLE, {})
        if self.criterion is not None:
            statistics[SECONDS] = time.perf_counter() - started
            arrays |= state_arrays(self.criterion.state_dict())
        self._next, self._resumed = epoch + 1, False
        if is_first_rank():
            line |= {f"{LOGGED}{name}": value for name, value in statistics.items()}
            self._session.write(epoch, lambda files: self._write(files, epoch, arrays, line))
        return statistics

    def last_epoch(self) -> int:
        """The last epoch in the folder, -1 in a new folder; call it on every rank."""
        return _on_first_rank(self._read_last_epoch)

    def _refuse_another_epoch(self, ended: int, expected: int) -> None:
        if ended < expected:
            raise ValueError(
                f"Expected epoch {expected} to end, or a later one, but got {ended}, which would replace what was "
                f"recorded: call resume({ended}) to go back to it, or give another phase of training a recorder and a "
                "folder of its own."
            )
        if self.criterion is not None and self._resumed and ended != expected:
            raise ValueError(
                f"Expected epoch {expected} to end first after resume({expected}) but got {ended}: the weights in "
                f"force were those of epoch {expected}. Call resume({ended}) before epoch {ended} is trained, when "
                "the model's checkpoint is loaded and its epoch known."
            )

    def _write(self, files: EpochWriter, epoch: int, arrays: dict[str, Tensor], line: Numbers) -> None:
        # Discarded epochs are removed first, so that a full disk or a kill leaves none of them to resume from.
        if files.abandoned is not None:
            files.remove_abandoned()
            if (self.folder / SETTINGS).is_file():
                with contextlib.suppress(ValueError):  # a log of another kind; the constructor warned about it
                    cut_log(self.folder / LOG, files.abandoned)
            files.abandoned = None
        if arrays:
            files.write(epoch, arrays)
        path, settings = self.folder / SETTINGS, settings_as_json(self.settings)
        if not path.is_file() or path.read_bytes() != settings:
            write_whole(path, settings)
        if self._class_names is not None:
            write_class_names(self.folder, self._class_names)
            self._class_names = None  # once
        append_line(self.folder / LOG, {"epoch": epoch, **line})

    def _find_state(self, next_epoch: int | None) -> tuple[int, dict[str, Tensor] | None]:
        """The epoch to resume at, and its state."""
        if next_epoch != 0:  # 0 replaces the run in the folder
            self._compare_settings()
        runs = self._files.newest_runs()
        if len(runs) > 1 and next_epoch != 0:
            raise ValueError(
                f"Expected the epochs of one run in {self.folder / FOLDER} but found those of {len(runs)}, and cannot "
                "tell which came last: keep the files of one, call resume(0) to replace them by a new run, or give "
                "another folder."
            )
        run = next(iter(runs), None) if len(runs) == 1 else None
        files = {} if self.criterion is None else self._files.files_of(run)
        if next_epoch is None:
            last = self._last_logged() if self.criterion is None else max(files, default=-1)
            next_epoch = last + 1
        self._files.resume_from(run, next_epoch)
        return next_epoch, read_epoch_state(files[next_epoch - 1]) if next_epoch - 1 in files else None

    def _compare_settings(self) -> None:
        """Raises ValueError if the run had another loss; warns about changed settings of the user."""
        recorded = read_settings(self.folder)
        if not recorded:
            return
        now = json.loads(settings_as_json(self.settings))
        known, mine = loss_settings(recorded), loss_settings(now)
        if other := differences(known, {name: value for name, value in mine.items() if name in known}):
            raise ValueError(
                f"Expected the settings of the run in {self.folder} but {other}: use those, call resume(0) to "
                "replace it by a new run, or give another folder."
            )
        was, are = ({name: value for name, value in of.items() if name not in self._own} for of in (recorded, now))
        if other := differences(was, are):
            info(f"resumes the run in {self.folder} with other settings: {other}.")

    def _restore(self, criterion: Criterion, start: int, state: dict[str, Tensor] | None) -> None:
        """Applies the weights for an epoch, and prints a message about them."""
        weighting = criterion.weighting
        if state is not None:
            criterion.load_state_dict(state)
            if weighting.epoch != start:
                path = self._files.files_of(self._files.run)[start - 1]
                raise ValueError(
                    f"Expected the state for epoch {start} in {path} but it is for epoch {weighting.epoch}: the "
                    "file was renamed or copied. Rename it back, or resume at an epoch whose file is intact."
                )
            info(f"resumed the weights in force from epoch {weighting.epoch} on ({_largest(criterion)}).")
        elif (
            start and start == weighting.epoch and weighting.uses_logits and weighting.has_radii
        ):  # the user loaded the criterion's state
            criterion.forget_epoch()
            info(f"no state for epoch {start} in {self.folder}: keeps the loaded weights ({_largest(criterion)}).")
        elif start:
            criterion.start_over(start)
            if weighting.uses_logits:
                known = ", ".join(map(str, self._files.files_of(self._files.run))) or "none"
                warn_caller(
                    f"Expected the state after epoch {start - 1} in {self.folder / FOLDER} but there is none (epochs "
                    f"there: {known}): THE CLASS WEIGHTS START AT 1, until epoch {start} ends. Save the model's "
                    "checkpoint after recorder.end_epoch, or resume at an epoch that is there."
                )
        else:
            criterion.forget_epoch()  # drops what a stopped run observed, keeps radii
            weighting.begin_epoch(0)
            measured = weighting.uses_logits and weighting.active
            weights = f", with weights measured before ({_largest(criterion)})" if measured else ""
            info(f"a new run in {self.folder}{weights}.")

    def _last_logged(self) -> int:
        try:
            return last_epoch(self.folder / LOG)
        except ValueError:  # the constructor warned about it
            return -1

    def _read_last_epoch(self) -> int:
        last = max(numbered_files(self.folder), default=-1)
        if self.criterion is None or (self.folder / SETTINGS).is_file():
            last = max(last, self._last_logged())
        return last

    def _refuse_another_run(self) -> None:
        """Raises ValueError if the folder holds a run."""
        last = self._read_last_epoch()
        if last < 0:
            return
        states = self.criterion is None or numbered_files(self.folder)
        run = f"a run up to epoch {last}" if states else f"the log of a run up to epoch {last}, without its states"
        go_on = "call recorder.resume() before training to go on with it, or " if states else "call "
        raise ValueError(
            f"Expected a new folder but {self.folder} holds {run}: {go_on}recorder.resume(0) to replace it by a new "
            "run, or give another folder."
        )


def _on_first_rank(read: Callable[[], T]) -> T:
    """Returns the first rank's result on every rank; an error there is a ValueError on every rank."""
    found: list[Any] = [None, ""]
    if is_first_rank():
        try:
            found[0] = read()
        except (ValueError, OSError) as error:
            found[1] = str(error)
    if world_size() > 1:
        dist.broadcast_object_list(found, src=0)
    value, fault = found
    if fault:
        raise ValueError(fault)
    return cast(T, value)


def _checked_names(names: Sequence[str], criterion: Criterion | None) -> list[str]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"Expected class_names to be a list of names but got {names!r:.80}.")
    if criterion is not None and len(names) != criterion.weighting.num_classes:
        raise ValueError(
            f"Expected class_names to have {criterion.weighting.num_classes} names, one a class, but got {len(names)}."
        )
    return list(names)


def _largest(criterion: Criterion) -> str:
    return f"largest {float(criterion.in_force().max()):.4g}"
