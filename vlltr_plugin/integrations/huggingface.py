"""Hugging Face's Trainer: a loss right under gradient accumulation, and a callback for epochs and checkpoints."""

import pickle
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.epoch_statistics import Statistics
from vlltr_plugin.integrations.names import log_prefix
from vlltr_plugin.integrations.rest_of_epoch import end_epoch
from vlltr_plugin.runs.whole_files import whole_file
from vlltr_plugin.training.messages import say

STATE = "reweight.pt"
"""The criterion's state, in each of the Trainer's checkpoint folders; of a named callback `reweight_NAME.pt`."""

IGNORED = -100
"""The label that the Trainer leaves out when it counts the items of a batch."""

_MODELS: "weakref.WeakKeyDictionary[Criterion, weakref.ref[Any]]" = weakref.WeakKeyDictionary()
"""Which model each criterion was trained with last, whatever the callback."""


class ReweightCallback(TrainerCallback):
    """Gives the Trainer a criterion: the loss of a step, the end of an epoch, the state in each checkpoint.

    The epoch's numbers are `statistics`, and lines `train_reweight_*` of the Trainer's log history. A checkpoint saved
    inside an epoch (`save_strategy="steps"`) resumes with the weights in force; what was observed of that epoch is
    lost, and its rest changes no radii but those that are still missing. One of an epoch's last step gets the state of
    the ended epoch.

    Args:
        criterion: gets the model's `logits` and the `labels`. Give it `ignore_index=-100` where labels hold that.
        resume_from: the checkpoint folder to go on from, where it is none of the run's own `output_dir`.
        name: of one of several callbacks of a Trainer, each with a criterion of its own: its state is in
            `reweight_NAME.pt`, its lines are `train_reweight_NAME_*`.

    Raises:
        ValueError: for an `ignore_index` other than None and -100: the Trainer counts by the latter; for a name that
            is no word; when training begins, for two callbacks of one name.

    Example:
        >>> reweight = ReweightCallback(ReweightedLoss(ClassVolume(counts)))
        >>> trainer = Trainer(model, args, compute_loss_func=reweight.loss, callbacks=[reweight], ...)
    """

    def __init__(self, criterion: Criterion, resume_from: str | Path | None = None, name: str = "") -> None:
        self._log_prefix = log_prefix(name)
        if criterion.ignore_index not in (None, IGNORED):
            raise ValueError(f"Expected ignore_index=-100, as the Trainer has it, but got {criterion.ignore_index}.")
        self.criterion, self._resume_from, self._name = criterion, resume_from, name
        self._file = f"reweight_{name}.pt" if name else STATE
        self.statistics: Statistics = {}
        self._saved_at = 0
        self._rest_of_epoch = False

    def loss(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """For the Trainer's `compute_loss_func`.

        The Trainer adds up the losses of the parts of an accumulated batch and divides by nothing: each part is
        divided by the number of items in the whole batch, so that the step is that of the undivided one.

        Args:
            outputs: the model's, with `logits` `[B, C]` (or `[B, C, d1, ...]`).
            labels: int64 `[B]`, or floating point of the logits' shape.
            num_items_in_batch: entries of the labels in all parts of the batch, told once for each GPU that
                `torch.nn.DataParallel` runs on; None for the mean over this part.

        Returns:
            A scalar.
        """
        logits: Tensor = outputs["logits"] if isinstance(outputs, dict) else outputs[0]
        loss: Tensor = self.criterion(logits, labels)
        if num_items_in_batch is None:
            return loss
        # DataParallel, of several GPUs in one process: an entry for each, and the Trainer multiplies by their number.
        items = torch.as_tensor(num_items_in_batch).sum().to(loss.device)
        items = torch.where(items > 0, items, 1)  # where every label is ignored
        return loss * (labels != IGNORED).sum().to(loss.device) / items  # of float labels C times as many, in both

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes the state of the checkpoint that the Trainer goes on from, or says that the weights start at 1.

        A model that is not that of the run before, as `model_init` makes them, begins with weights of 1, too.
        """
        self._refuse_another_of_its_name(state)
        model, weighting = kwargs.get("model"), self.criterion.weighting
        before = _MODELS.get(self.criterion)
        other = before is not None and before() is not model
        if model is not None:
            _MODELS[self.criterion] = weakref.ref(model)
        self._saved_at = 0
        self.criterion.forget_epoch()
        self._rest_of_epoch = (state.epoch or 0) % 1 > 0 and not args.ignore_data_skip
        if not state.global_step:
            if other:  # of `model_init`, in a search say
                if weighting.uses_logits and weighting.has_radii:
                    say("another model than before: what was measured is dropped, the class weights start at 1.")
                self.criterion.start_over()
            return
        path = Path(self._resume_from or _checkpoint_folder(args, state)) / self._file
        if path.is_file():
            try:
                self.criterion.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
            except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
                raise ValueError(f"Expected the re-weighting's state in {path} but could not load it.") from error
        elif weighting.uses_logits:
            self.criterion.start_over()
            say(
                f"expected the re-weighting's state in {path} but there is none: THE CLASS WEIGHTS START AT 1. Give "
                "ReweightCallback resume_from=CHECKPOINT_FOLDER where the run goes on from another folder."
            )
        epoch = int(state.epoch or 0)
        if weighting.epoch < epoch:  # stopped after the last step of an epoch, before it ended
            weighting.begin_epoch(epoch)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Folds the epoch's statistics into new weights; called on every rank."""
        self.statistics = end_epoch(self.criterion, rest=self._rest_of_epoch)
        self._rest_of_epoch = False
        numbers = {f"{self._log_prefix}{name}": value for name, value in self.statistics.items()}
        state.log_history.append({**numbers, "epoch": float(state.epoch or 0), "step": state.global_step})
        if self._saved_at == state.global_step and float(state.epoch or 0).is_integer():
            self._save(args, state)  # a checkpoint of the epoch's last step was written before the epoch ended

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes the criterion's state beside the Trainer's own: once, or with `save_on_each_node` on each node."""
        self._saved_at = state.global_step
        self._save(args, state)

    def _save(self, args: TrainingArguments, state: TrainerState) -> None:
        folder = _checkpoint_folder(args, state)
        if args.should_save and folder.is_dir():
            with whole_file(folder / self._file, folder / f".{self._file}.tmp") as unfinished:
                torch.save(self.criterion.state_dict(), unfinished)

    def _refuse_another_of_its_name(self, state: TrainerState) -> None:
        """Two would write one file; the state, which is made anew for each training, knows which callbacks it has."""
        callbacks = vars(state).setdefault("_reweight_callbacks", {})
        if callbacks.setdefault(self._name, id(self)) != id(self):
            raise ValueError(
                f"Expected one ReweightCallback named {self._name!r} but this Trainer has two, and one would write "
                "over the other's state: give each a name, ReweightCallback(criterion, name=...)."
            )


def _checkpoint_folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
