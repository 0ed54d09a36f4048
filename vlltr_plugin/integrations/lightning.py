"""Lightning: a callback that ends the criterion's epochs, logs them, and keeps its state in every checkpoint."""

import math
from typing import TYPE_CHECKING, Any

from vlltr_plugin.core.saved_state import epoch_of
from vlltr_plugin.integrations.epochs import EpochCallback
from vlltr_plugin.training.messages import info

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    try:
        from lightning.pytorch import Callback, LightningModule, Trainer
    except ImportError:  # the older package with the same content
        from pytorch_lightning import Callback, LightningModule, Trainer


class ReweightCallback(EpochCallback, Callback):
    """Ends the epochs of a criterion where Lightning ends them; logs their numbers as `train_reweight_*`.

    The criterion's state is in Lightning's checkpoints: `trainer.fit(model, ckpt_path=...)` restores weights and radii
    to the last bit. A checkpoint saved inside an epoch restores the weights in force; what was observed of that epoch
    is lost, and its rest adds radii only where there are none yet. An epoch that training stops inside (`max_steps`,
    early stopping, `max_time`) adds none. Only training batches are observed. In validation and tests the criterion is
    in eval mode: the loss without weights, comparable over the epochs and with a baseline.

    Args:
        criterion: what `training_step` calls; it need not be a part of the module.
        name: for one of several callbacks, each with its own criterion: it logs `train_reweight_NAME_*`. Lightning
            refuses two of one name.
        steps_per_epoch: ends an epoch after that many steps (`trainer.global_step`). By default an epoch is a pass
            over the training data, which endless data never ends.
        folder: of the run, where `RunRecorder` writes for `vlltr-plugin inspect` and `compare`; None to write nothing.
        metrics: maps what the validation logs to the metrics of that folder's log, see `RunRecorder.end_epoch`.
        groups: thresholds of the groups of classes, recorded in that folder; see `RunRecorder`.
        class_names: names of the classes, recorded in that folder.

    Raises:
        TypeError: if `criterion` is not a criterion of the plug-in.
        ValueError: if the name is not a word; when training begins, if a new run's `folder` holds a run; in training,
            if something else ends an epoch of the criterion.

    Example:
        >>> criterion = ReweightedLoss(ClassVolume(counts))
        >>> trainer = Trainer(callbacks=[ReweightCallback(criterion), ModelCheckpoint("runs")])
    """

    _starts = False  # True from the start of a training to its first batch
    _loaded = False  # True if a checkpoint's state was loaded for the next training
    _mode: bool | None = None  # mode of the criterion before the evaluation in progress

    @property
    def state_key(self) -> str:
        """The key of the state in Lightning's checkpoints."""
        return f"{super().state_key}[{self._name}]" if self._name else super().state_key

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Marks the start of a training, which its first batch begins."""
        self._starts, self._in_epoch = True, False

    def _start(self, trainer: Trainer) -> None:
        """Prints a message if a run resumes without the epoch's state; a new run begins with weights of 1."""
        self._starts = False
        weighting, new = self.criterion.weighting, trainer.global_step == 0
        epoch = trainer.current_epoch if self._steps is None else trainer.global_step // self._steps
        reached = epoch_of(
            weighting.progress.tolist()
        )  # the tensor may have been written by loading the module's state
        loaded, self._loaded = self._loaded and not new, False
        again, self._running = self._running, True
        self.criterion.forget_epoch()
        if loaded and reached != epoch:
            info(f"the checkpoint was saved in epoch {reached} of the criterion: its weights are in force in {epoch}.")
            weighting.begin_epoch(epoch)
        elif reached != epoch:
            if weighting.uses_logits:
                dropped = f"what the criterion measured before ({reached} epochs) is dropped"
                why = "the checkpoint holds no re-weighting state" if epoch else dropped
                info(f"{why}: the weights start at 1, in epoch {epoch}.")
            self.criterion.start_over(epoch)
        self._rest = self._steps is not None and trainer.global_step % self._steps > 0
        self._begin(new, again)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begins an epoch with its first batch, also after other passes (for example a learning-rate finder)."""
        # Not earlier: with a checkpoint of a validation, `current_epoch` is the epoch before until that is over.
        if self._starts:
            self._start(trainer)
        self._refuse_another_end()
        if not self._in_epoch:
            self.criterion.forget_epoch()
            if self._steps is None and batch_idx > 0:  # resumes inside a pass; a pass of unknown length starts again
                has_length = trainer.num_training_batches != math.inf
                self._rest = self._rest or has_length or hasattr(trainer.train_dataloader, "load_state_dict")
            self._in_epoch = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ends the epoch with its last batch, so that every later checkpoint contains the epoch's radii."""
        if self._steps is None:
            if trainer.is_last_batch:
                self._end(trainer.global_step, trainer.current_epoch)
        elif trainer.global_step // self._steps > self.criterion.weighting.epoch:
            self._end(trainer.global_step, trainer.global_step // self._steps - 1)
            self._log(pl_module, on_step=True, on_epoch=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the epoch's numbers; ends an epoch that was stopped early. Called on every rank."""
        if self._steps is None:
            if self._in_epoch:
                stops = trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step
                self._end(trainer.global_step, trainer.current_epoch, stopped=stops and not trainer.is_last_batch)
            self._log(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Marks the end of the run; later batches do not belong to it."""
        self._running = False

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sets the criterion to eval mode."""
        self._mode = self.criterion.training
        self.criterion.eval()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores the criterion's mode; stores the validation's logged numbers for the run's folder."""
        self._leave_evaluation()
        if not trainer.sanity_checking:
            self._take_evaluation(trainer.global_step, trainer.callback_metrics)

    on_test_start = on_validation_start

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores the criterion's mode."""
        self._leave_evaluation()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restores the criterion's mode after an interrupted validation."""
        self._leave_evaluation()

    def state_dict(self) -> dict[str, Any]:
        """The criterion's state, for the checkpoint."""
        return dict(self.criterion.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads the criterion's state from a checkpoint; ValueError if it was saved with other settings."""
        self._load(state_dict)
        self._loaded = True

    def _log(self, pl_module: LightningModule, **when: bool) -> None:
        numbers = {name: float(value) for name, value in self._logged().items()}
        pl_module.log_dict(numbers, sync_dist=True, **when)  # otherwise Lightning warns if there are several ranks

    def _leave_evaluation(self) -> None:
        if self._mode is not None:
            self.criterion.train(self._mode)
        self._mode = None
