"""Lightning: a callback that ends the criterion's epochs, logs them, and keeps its state in every checkpoint."""

from typing import TYPE_CHECKING, Any

from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.integrations.names import log_prefix
from vlltr_plugin.integrations.rest_of_epoch import end_epoch
from vlltr_plugin.training.messages import say

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    try:
        from lightning.pytorch import Callback, LightningModule, Trainer
    except ImportError:  # the older package of the same thing
        from pytorch_lightning import Callback, LightningModule, Trainer


class ReweightCallback(Callback):
    """Ends an epoch of `criterion` where Lightning ends one; its numbers are logged as `train_reweight_*`.

    Weights and radii travel in Lightning's checkpoints: `trainer.fit(model, ckpt_path=...)` goes on with them, to the
    last bit. A checkpoint saved inside an epoch resumes with the weights in force; what was observed of that epoch is
    lost, and its rest changes no radii but those that are still missing. So it is of one that validation saves before
    the epoch ends: give `ModelCheckpoint` save_on_train_epoch_end=True where it does not save there anyway.

    Args:
        criterion: what `training_step` calls; it need not be a part of the module.
        name: of one of several callbacks of a Trainer, each with a criterion of its own: it logs
            `train_reweight_NAME_*`. Lightning refuses two of one name.

    Raises:
        ValueError: for a name that is no word.

    Example:
        >>> criterion = ReweightedLoss(ClassVolume(counts))
        >>> trainer = Trainer(callbacks=[ReweightCallback(criterion), ModelCheckpoint(save_on_train_epoch_end=True)])
    """

    def __init__(self, criterion: Criterion, name: str = "") -> None:
        self._log_prefix = log_prefix(name)
        self.criterion, self._name = criterion, name
        self._loaded = False
        self._first_batch: int | None = None

    @property
    def state_key(self) -> str:
        """Lightning's name for the state in a checkpoint."""
        return f"{super().state_key}[{self._name}]" if self._name else super().state_key

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Before a checkpoint is restored: one that another trainer has tested is no start of a new run."""
        if stage == "fit" and trainer.current_epoch == 0:
            self._loaded = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says when a run goes on from a checkpoint without the epoch's state; a new run begins with weights of 1."""
        weighting, epoch = self.criterion.weighting, trainer.current_epoch
        self.criterion.forget_epoch()
        self._first_batch = None
        loaded, self._loaded = self._loaded, False
        if weighting.epoch == epoch:
            return
        if loaded:
            say(f"the checkpoint was saved before the end of epoch {epoch - 1}: the weights are those of before.")
            weighting.begin_epoch(epoch)
            return
        if weighting.uses_logits:
            dropped = f"what the criterion measured before ({weighting.epoch} epochs) is dropped"
            why = "the checkpoint holds no re-weighting state" if epoch else dropped
            say(f"{why}: the weights start at 1, in epoch {epoch}.")
        self.criterion.start_over(epoch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Notes with which batch the epoch begins here: not the first, where a run goes on inside it."""
        if self._first_batch is None:
            self._first_batch = batch_idx

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Folds the epoch's statistics into new weights; called on every rank."""
        statistics = end_epoch(self.criterion, trainer.current_epoch, rest=bool(self._first_batch))
        self._first_batch = None
        pl_module.log_dict({f"{self._log_prefix}{name}": float(value) for name, value in statistics.items()})

    def state_dict(self) -> dict[str, Any]:
        """The criterion's state, for the checkpoint."""
        return dict(self.criterion.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the criterion's state out of a checkpoint; ValueError where it was made with other settings."""
        self.criterion.load_state_dict(state_dict)
        self._loaded = True
