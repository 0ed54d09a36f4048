"""Hugging Face's Trainer: a loss for gradient accumulation, and a callback for epochs and checkpoints."""

import pickle
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate.state import GradientState
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.loss.loss_utils import LOSS_MAPPING, ForCausalLMLoss
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, has_length

from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.integrations.epochs import EpochCallback, Metrics, evaluation_metrics
from vlltr_plugin.runs.files import whole_file
from vlltr_plugin.training.messages import info

STATE = "reweight.pt"  # file in each of the Trainer's checkpoint folders; for a named callback `reweight_NAME.pt`
IGNORED = -100  # the label that the Trainer leaves out when it counts the items of a batch

# The model that each criterion was last trained with, by any callback.
_MODELS: "weakref.WeakKeyDictionary[Criterion, weakref.ref[Any]]" = weakref.WeakKeyDictionary()


class ReweightCallback(EpochCallback, TrainerCallback):
    """Connects a criterion to the Trainer: the loss of a step, the end of an epoch, the state in each checkpoint.

    The epoch's numbers are in `statistics` and in the Trainer's log history, as `train_reweight_*`. A checkpoint saved
    inside an epoch (`save_strategy="steps"`) restores the weights in force; what was observed of that epoch is lost,
    and its rest adds radii only where there are none yet. An epoch that training stops inside (`max_steps`, early
    stopping) adds none. A checkpoint of an epoch's last step has the state of the ended epoch. Only training steps are
    observed; the loss of an evaluation is that of the criterion in eval mode: without weights, comparable over the
    epochs and with a baseline.

    Args:
        criterion: gets the model's `logits` and the `labels`. Give it `ignore_index=-100` if labels contain that.
        resume_from: the checkpoint folder to take the state from, if it is not the one that `train` resumes from.
        name: for one of several callbacks, each with its own criterion: its state is in `reweight_NAME.pt`, it logs
            `train_reweight_NAME_*`.
        steps_per_epoch: ends an epoch after that many of the Trainer's (optimizer) steps. By default an epoch is a
            pass over the training data, which endless data never ends.
        folder: of the run, where `RunRecorder` writes for `vlltr-plugin inspect` and `compare`; None to write nothing.
        metrics: maps what the Trainer's evaluation gives to the metrics of that folder's log, see
            `RunRecorder.end_epoch`.
        groups: thresholds of the groups of classes, recorded in that folder; see `RunRecorder`.
        class_names: names of the classes, recorded in that folder.

    Raises:
        TypeError: if `criterion` is not a criterion of the plug-in.
        ValueError: if its `ignore_index` is not None or -100 (the Trainer counts the labels that are not -100), if its
            reduction is not the mean, or if the name is not a word; when training begins, if two callbacks have one
            name, if the `label_smoothing_factor` is not the criterion's `smoothing`, or if a new run's `folder` holds
            a run; in training, if something else ends an epoch of the criterion.

    Example:
        >>> reweight = ReweightCallback(ReweightedLoss(ClassVolume(counts)))
        >>> trainer = Trainer(model, args, compute_loss_func=reweight.loss, callbacks=[reweight], ...)
    """

    def __init__(
        self,
        criterion: Criterion,
        resume_from: str | Path | None = None,
        name: str = "",
        steps_per_epoch: int | None = None,
        folder: str | Path | None = None,
        metrics: Metrics = evaluation_metrics,
        groups: str | Sequence[int] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(criterion, name, steps_per_epoch, folder, metrics, groups, class_names)
        if criterion.ignore_index not in (None, IGNORED):
            raise ValueError(
                f"Expected ignore_index=-100 but got {criterion.ignore_index}: the Trainer leaves labels of -100 out "
                "of its count of items. Map the labels to be ignored to -100."
            )
        if criterion.reduction != "mean":
            raise ValueError(f"Expected a criterion with reduction='mean' but got {criterion.reduction!r}.")
        self._called, self._resume_from = criterion, resume_from  # called as given, so compiled where it is
        self._file = f"reweight_{name}.pt" if name else STATE
        self._has_length = True

    def loss(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """For the Trainer's `compute_loss_func`: a scalar; in an evaluation the unweighted loss.

        The Trainer sums the losses of the parts of an accumulated batch without dividing: each part is divided by the
        number of items in the whole batch, so that the step is that of the undivided batch.

        Args:
            outputs: the model's, with `logits` or as a tuple of which they are the first: `[B, C]`, of tokens
                `[B, T, C]`, of images `[B, C, h, w]`, which are interpolated to the size of the labels as
                transformers' own losses do.
            labels: int64 `[B]`, `[B, T]` or `[B, H, W]`, or floating point of the logits' shape.
            num_items_in_batch: entries of the labels in all parts of the batch, once for each GPU that
                `torch.nn.DataParallel` runs on; None for the mean over this part.

        Raises:
            TypeError: if there are no logits or no labels.
            ValueError: if the model predicts the next token: its own loss shifts the labels, and the Trainer counts
                one label less in each part.
        """
        model = self._model()
        logits, labels = _class_logits(outputs, labels, self.criterion.weighting.num_classes, model)
        trains = torch.is_grad_enabled() and (model is None or model.training)
        mode = self.criterion.training
        if not trains:
            self.criterion.eval()
        try:
            loss: Tensor = self._called(logits, labels)
        finally:
            if not trains:
                self.criterion.train(mode)
        if num_items_in_batch is None:
            return loss
        if labels.ndim == 1 and _counts_next_tokens(model):
            raise ValueError(
                "Expected num_items_in_batch to count every label but this model predicts the next token, so the "
                "Trainer leaves out the first label of each part. If there is one label for each row, set "
                "model.loss_type = 'ForSequenceClassification' before the Trainer is made; labels of tokens are [B, T]."
            )
        # DataParallel, of several GPUs in one process: an entry for each, and the Trainer multiplies by their number.
        items = torch.as_tensor(num_items_in_batch).sum().to(loss.device)
        items = torch.where(items > 0, items, 1)  # if every label is ignored
        return (
            loss * (labels != IGNORED).sum().to(loss.device) / items
        )  # float labels have C times as many entries, in both numbers

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Loads the state of the checkpoint that the Trainer resumes from, or prints that the weights start at 1.

        Weights also start at 1 for a model other than that of the run before (`model_init`), and if an interrupted
        training starts again (`auto_find_batch_size` does that when memory runs out).
        """
        # The Trainer creates a new state for each training; two callbacks with one name would write to one file.
        named = vars(state).setdefault("_reweight_callbacks", {})
        if named.setdefault(self._name, id(self)) != id(self):
            raise ValueError(
                f"Expected one ReweightCallback named {self._name!r} but this Trainer has two, and one would write "
                "over the other's state: give each a name, ReweightCallback(criterion, name=...)."
            )
        factor, smoothing = float(args.label_smoothing_factor), self.criterion.smoothing
        if factor not in (0.0, smoothing):
            raise ValueError(
                f"Expected label_smoothing_factor to be 0, or the criterion's smoothing {smoothing:g}, but got "
                f"{factor:g}, which the Trainer ignores when it has a compute_loss_func: give the criterion "
                f"smoothing={factor:g}."
            )
        model, loader = kwargs.get("model"), kwargs.get("train_dataloader")
        another_model = model is not None and self.criterion in _MODELS and self._model() is not model
        if model is not None:
            _MODELS[self.criterion] = weakref.ref(model)
        self._has_length = loader is None or has_length(loader)
        again, self._running = self._running, True
        self._in_epoch = self._rest = False
        self.criterion.forget_epoch()
        if state.global_step:
            self._restore(args, state)
        elif again or another_model:  # a model from `model_init`, for example in a search
            if self.criterion.weighting.uses_logits and self.criterion.weighting.has_radii:
                another = "training begins anew" if again else "another model than before"
                info(f"{another}: what was measured is dropped, the class weights start at 1.")
            self.criterion.start_over()
        self._begin(new=not state.global_step, again=again)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Marks the epoch as in progress; nothing else may have ended it."""
        self._refuse_another_end()
        self._in_epoch = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ends the epoch with its last step, so that a checkpoint of that step contains the epoch's radii."""
        if self._steps is not None:
            ends = state.global_step % self._steps == 0
        elif self._has_length:
            ends = float(state.epoch or 0).is_integer()
        else:
            ends = bool(GradientState().end_of_dataloader)
        if ends:
            self._end_epoch(state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ends an epoch that was stopped early, or whose last batches are not a full step; called on every rank."""
        if self._steps is None:
            if self._in_epoch:
                self._end_epoch(state, stopped=control.should_training_stop)
            self._rest = False  # nothing is left of a pass that was skipped completely

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stores the numbers of an evaluation for the log in the run's folder."""
        self._take_evaluation(state.global_step, kwargs.get("metrics") or {})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes the criterion's state beside the Trainer's: once, or on each node with `save_on_each_node`."""
        folder = _checkpoint_folder(args, state)
        if args.should_save and folder.is_dir():
            with whole_file(folder / self._file, folder / f".{self._file}.tmp") as unfinished:
                torch.save(self.criterion.state_dict(), unfinished)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Marks the end of the run; later steps do not belong to it."""
        self._running = False

    def _model(self) -> Any:
        """The model that the criterion was last trained with; None if there is none or it was deleted."""
        reference = _MODELS.get(self.criterion)
        return None if reference is None else reference()

    def _restore(self, args: TrainingArguments, state: TrainerState) -> None:
        """Loads the state of the checkpoint that the model comes from, and sets the epoch in progress."""
        weighting = self.criterion.weighting
        path = Path(self._resume_from or _resumed_folder() or _checkpoint_folder(args, state)) / self._file
        epoch = int(state.epoch or 0)
        if path.is_file():
            try:
                self._load(torch.load(path, map_location="cpu", weights_only=True))
            except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
                raise ValueError(f"Expected the re-weighting's state in {path} but could not load it.") from error
            # For data without a length the Trainer counts passes from 0 after each resume; only the state counts all.
            epoch = epoch if self._has_length else weighting.epoch
        elif weighting.uses_logits:
            self.criterion.start_over()
            info(
                f"expected the re-weighting's state in {path} but there is none: THE CLASS WEIGHTS START AT 1. Give "
                "ReweightCallback resume_from=CHECKPOINT_FOLDER where it is in another folder."
            )
        if self._steps is not None:
            epoch, inside = divmod(state.global_step, self._steps)
            self._rest = inside > 0
        else:
            inside = (state.epoch or 0) % 1 > 0 or not self._has_length
            self._rest = inside and not args.ignore_data_skip
        if weighting.epoch != epoch:  # stopped during an epoch, or before it ended
            weighting.begin_epoch(epoch)

    def _end_epoch(self, state: TrainerState, stopped: bool = False) -> None:
        numbers = self._end(state.global_step, stopped=stopped)
        state.log_history.append({**numbers, "epoch": float(state.epoch or 0), "step": state.global_step})


def _checkpoint_folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"


def _resumed_folder() -> str | None:
    """The checkpoint that the Trainer resumes from, read from its loop's arguments, since callbacks do not get it."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "_inner_training_loop" and frame.f_locals.get("resume_from_checkpoint"):
            return str(frame.f_locals["resume_from_checkpoint"])
    return None


def _counts_next_tokens(model: Any) -> bool:
    """True if the Trainer counts `labels[..., 1:]` as the items of a batch, since the model's own loss shifts them."""
    loss_type = getattr(model, "loss_type", None)
    encodes = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    return LOSS_MAPPING.get(loss_type) is ForCausalLMLoss and not encodes


def _class_logits(outputs: Any, labels: Any, num_classes: int, model: Any) -> tuple[Tensor, Tensor]:
    """Logits `[B, C]` or `[B, C, d1, ...]`, classes in dimension 1 as in torch's losses, and labels that fit them.

    Both `[B, C, T]` and `[B, T, C]` are accepted, unless T = C. Logits of images are interpolated to the size of the
    labels as in the losses of transformers' segmentation models: bilinear, with align_corners=False.
    """
    logits = getattr(outputs, "logits", None)
    if logits is None:
        logits = outputs.get("logits") if isinstance(outputs, dict) else outputs
    if isinstance(logits, (tuple, list)) and logits:
        logits = logits[0]
    if not isinstance(logits, Tensor):
        named = f" with {', '.join(map(str, outputs))}" if isinstance(outputs, dict) else ""
        raise TypeError(
            f"Expected the model's outputs to have `logits`, one column for each class, but got "
            f"{type(outputs).__name__}{named}: give reweight.loss({{'logits': ...}}, labels, num_items_in_batch) those "
            "that the labels are for."
        )
    if not isinstance(labels, Tensor):
        raise TypeError(
            f"Expected labels in a tensor but got {type(labels).__name__}: the data's labels come under the name "
            "`labels`, one for each row of the logits."
        )
    # A tuple (return_dict=False) does not show the kind of the model.
    kind = type(model if isinstance(outputs, tuple) else outputs).__name__
    if logits.ndim == 3 and ("CausalLM" in kind or "LMHeadModel" in kind):
        raise ValueError(
            "Expected one label for each row of the logits but this model predicts the next token, and its own loss "
            "shifts the labels: give compute_loss_func a function that returns reweight.loss({'logits': "
            "outputs.logits[:, :-1]}, labels[:, 1:], num_items_in_batch)."
        )
    # For tokens the class dimension is the last; for images as well, unless the shapes show otherwise.
    classes_last = logits.ndim >= 3 and logits.shape[-1] == num_classes
    if classes_last and logits.ndim > 3 and logits.shape[1] == num_classes:
        classes_last = labels.shape == logits.shape[:-1] and labels.shape != logits.shape[:1] + logits.shape[2:]
    if classes_last:
        return logits.movedim(-1, 1), labels.movedim(-1, 1) if labels.is_floating_point() else labels
    if logits.ndim == 4 and labels.ndim == 3 and logits.shape[2:] != labels.shape[1:]:
        return F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=False), labels
    return logits, labels
