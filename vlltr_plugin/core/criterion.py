"""The criteria: a batch is checked, its statistics are taken, and its losses are weighted by class and averaged."""

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vlltr_plugin.core.arguments import check_choice, shortened
from vlltr_plugin.core.base_losses import BaseLoss, PerSampleLoss, base_loss, base_loss_name
from vlltr_plugin.core.batch import Batch, batch_of, check_smoothing
from vlltr_plugin.core.epoch_statistics import SECONDS, Statistics
from vlltr_plugin.core.loop_checks import LoopChecks
from vlltr_plugin.core.ranks import refuse_differing_ranks
from vlltr_plugin.core.torch_context import in_vmap, observing
from vlltr_plugin.core.weighting import Weighting

REDUCTIONS = ("mean", "sum", "none")


class Criterion(nn.Module):
    """Base class of losses that depend on class weights, reduced over the elements of a batch.

    Elements are the samples `[B]`, or of dense logits `[B, C, d1, ...]` each of `[B, d1, ...]`, as
    `torch.nn.CrossEntropyLoss` has them.

    Args:
        weighting: provides the class weights, for example `ClassVolume`. Criteria of one weighting share its epochs:
            call `end_epoch` of one of them, or give each its own.
        smoothing: label smoothing eps in [0, 1), applied to int64 targets. Floating point targets must already contain
            it; the criterion removes it from them.
        ignore_index: label of elements to leave out of loss, statistics and the mean's denominator; not used for
            floating point targets. If all are left out the loss is 0 (torch's is nan), as for an empty batch.
        reduction: `"mean"` over the elements, `"sum"`, or `"none"`, which gives the loss of each element.

    Attributes:
        drawn: number of samples of each class on all ranks in the last epoch that ended, float64 `[C]`; mixed samples
            are counted by mass.

    Raises:
        TypeError: if `weighting` is not a Weighting (for example raw counts).
        ValueError: for a smoothing outside [0, 1), an ignore_index that is no whole number, or an unknown reduction.
    """

    def __init__(
        self,
        weighting: Weighting,
        smoothing: float = 0.0,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        if not isinstance(weighting, Weighting):
            raise TypeError(
                f"Expected weighting to be a Weighting, such as ClassVolume(class_counts), but got "
                f"{type(weighting).__name__} {shortened(weighting)}."
            )
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"Expected smoothing in [0, 1) but got {smoothing}.")
        if ignore_index is not None and (not isinstance(ignore_index, int) or isinstance(ignore_index, bool)):
            raise ValueError(f"Expected ignore_index to be a whole number or None but got {ignore_index!r}.")
        check_choice("reduction", reduction, REDUCTIONS)
        self.weighting = weighting
        self.smoothing = smoothing
        self.ignore_index = ignore_index
        self.reduction = reduction
        self._smoothing_checked = self._keeps_radii = self._loads_weighting = False
        self.drawn = torch.zeros(weighting.num_classes, dtype=torch.float64, device="cpu")
        # One for all criteria of a weighting, whose statistics and epochs they share.
        self._checks: LoopChecks = vars(weighting).setdefault("_checks", LoopChecks(weighting))
        self.register_load_state_dict_post_hook(_forget_counts)  # type: ignore[no-untyped-call]

    def forward(self, logits: Tensor, targets: Tensor, reduction: str | None = None) -> Tensor:
        """The loss; feeds the batch to the statistics while training.

        Nothing is observed in eval mode, under no_grad, and in a pass that activation checkpointing repeats during
        backward, nor inside `torch.func.grad` or `vmap`: a loop that trains with those must call `observe` itself.
        In eval mode (`criterion.eval()`) the loss is the base loss without weights or margins, with the same smoothing:
        a validation loss that is comparable over the epochs, whose weights differ, and with a baseline.
        Give mixed targets in one call: two calls for the two labels of an image would count it in full for both.
        For a model with several heads, call the criterion for the head that predicts, and
        `losses(logits, targets, "mean")` for the others: one criterion measures one space of logits.

        Args:
            logits: `[B, C]` or `[B, C, d1, ...]`; computed in float32 at least, also under autocast.
            targets: int64 `[B]` or `[B, d1, ...]`, or floating point of the logits' shape whose rows (over C) sum to 1.
            reduction: of this call alone; the criterion's `reduction` by default.

        Returns:
            The loss: a scalar, or for `"none"` as from `losses`.

        Raises:
            ValueError: for shapes, labels, row sums or a smoothing that do not fit. On a GPU row sums and smoothing
                are checked in the first batch only, so that no other step waits for it, and under `torch.compile`
                never. Under `torch.compile` a label out of range is a RuntimeError.
            TypeError: for dtypes that do not fit.
        """
        reduction = reduction or self.reduction
        check_choice("reduction", reduction, REDUCTIONS)
        batch = self.batch(logits, targets)
        observed = self._observes(logits)
        if self.training:
            self._checks.called = True
        if observed:
            self._checks.see_logits(logits, targets)
            self.observe_batch(batch)
        loss = batch.reduced(self._losses(batch, weighted=self.training), reduction)
        if observed:
            self._checks.see_loss(loss, batch)
        return loss

    def observe(self, logits: Tensor, targets: Tensor) -> None:
        """Feeds a batch to the statistics without computing a loss, in any mode.

        Every call counts. A closure that an optimizer calls several times in a step (L-BFGS) would count its batch as
        often through `forward`: take `criterion.losses(logits, targets, "mean")` there, and `observe` once a step.
        """
        self.observe_batch(self.batch(logits, targets))

    def run_by_host(self, say: Callable[[str], None], advice: str) -> None:
        """Lets a host's hook end the epochs: warnings go to `say`; draws are not compared if `advice` is empty."""
        self._checks.say, self._checks.advice = say, advice

    def observe_in_host(self, logits: Tensor, targets: Tensor, statistics: bool = True) -> Batch:
        """As `observe`, for a training pass whose loss the host computes; without `statistics`, counts draws only."""
        batch = self.batch(logits, targets)
        if statistics:
            self._checks.see_logits(logits)
        self.observe_batch(batch, statistics)
        return batch

    def losses(self, logits: Tensor, targets: Tensor, reduction: str = "none") -> Tensor:
        """The training loss of each element, `[B]` or `[B, d1, ...]`, 0 for ignored elements; or reduced.

        Applies the weights or margins in eval mode too, and observes nothing in any mode. With `reduction="mean"` it is
        the loss that `forward` gives while training: the mean leaves ignored elements out, unlike `.mean()`.
        """
        check_choice("reduction", reduction, REDUCTIONS)
        return self.losses_of(self.batch(logits, targets), reduction)

    def losses_of(self, batch: Batch, reduction: str = "none") -> Tensor:
        """`losses` of a checked batch."""
        self._checks.called = True
        return batch.reduced(self._losses(batch), reduction)

    def check(self, logits: Tensor, targets: Tensor) -> None:
        """Raises the errors that `forward` would raise for a batch that does not fit; changes nothing."""
        self.batch(logits, targets)

    def end_epoch(self, epoch: int | None = None) -> Statistics:
        """Folds the statistics into new weights; every rank has to call it, once an epoch.

        Args:
            epoch: number of the epoch that ends, from 0; by default the one after the last that ended.

        Returns:
            The epoch's numbers by name, plain and finite, for any logger: `alpha_min`, `alpha_median`, `alpha_max`,
            `expected_alpha`, `drawn_alpha` and `drawn_alpha_se` of the weights that were in force in it;
            `log_radius_mean`, `substituted` and `skipped` of the statistics that it gave, from which the weights of
            the next come; `seconds` that this call took. See `core.epoch_statistics`; what is not known is left out.

        Raises:
            ValueError: as `Weighting.end_epoch`; on every rank, when the criteria of ranks differ.

        Example:
            >>> for name, value in criterion.end_epoch().items():
            ...     writer.add_scalar(f"train_reweight_{name}", value, epoch)
        """
        start = time.perf_counter()
        ended = self.weighting.ended(epoch)
        refuse_differing_ranks(self.must_agree(ended), self.weighting.weights.device)
        return {**self.fold(ended), SECONDS: time.perf_counter() - start}

    def must_agree(self, ended: int) -> dict[str, Any]:
        """Plain values that must be equal on all ranks when an epoch ends."""
        names = ("smoothing", "ignore_index", "reduction")
        own = {"criterion": type(self).__name__, **{name: getattr(self, name) for name in names}}
        return {**self.weighting.must_agree(ended), **own, "keeps_radii": self._keeps_radii}

    def fold(self, ended: int) -> Statistics:
        """As `end_epoch`, after the ranks were compared; without `seconds`."""
        in_force = self.in_force()
        if self._keeps_radii:
            self.weighting.forget_epoch()
            self.weighting.begin_epoch(ended + 1)
        else:
            self.weighting.fold(ended)
        self._keeps_radii = False
        self.drawn = self._checks.end_epoch()
        return self.weighting.statistics(in_force, self.drawn)

    def keep_radii(self) -> None:
        """Keeps the radii at the end of this epoch, for example if it was resumed inside and few samples are left.

        Call it after a state is loaded. If there are no radii yet (`criterion.weighting.has_radii`) there will be none.
        """
        self._keeps_radii = True

    def forget_epoch(self) -> None:
        """Drops everything observed since the last epoch ended, for example by a run that was stopped."""
        self._keeps_radii = False
        self.weighting.forget_epoch()
        self._checks.forget()

    def start_over(self, epoch: int = 0) -> None:
        """Begins `epoch` with another model: drops everything that was measured; the weights are as in a new run.

        Args:
            epoch: counted from 0.
        """
        self._keeps_radii = False
        self.weighting.start_over(epoch)
        self._checks.start_over()

    def in_force(self) -> Tensor:
        """The weights alpha that the training loss uses now, as a new float32 tensor `[C]`."""
        return self.weighting.weights.clone()

    def extra_repr(self) -> str:
        """The settings, in `print(criterion)`."""
        return f"smoothing={self.smoothing}, ignore_index={self.ignore_index}, reduction={self.reduction!r}"

    def _observes(self, logits: Tensor) -> bool:
        """True if a call of `forward` feeds the statistics."""
        if not observing(self) or (logits.is_meta and not self.weighting.weights.is_meta):
            return False
        if not getattr(self, "_is_replica", False):
            return True
        if self.weighting.uses_logits:
            raise RuntimeError(
                "Expected the criterion outside of nn.DataParallel, which throws away what its copies of a model "
                "observe: return the logits from the model and call criterion(model(images), targets), or train with "
                "DistributedDataParallel."
            )
        return False

    @abstractmethod
    def _losses(self, batch: Batch, weighted: bool = True) -> Tensor:
        """Losses `[N]` of the rows of a batch; if not `weighted`, those of the base loss."""

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._loads_weighting = any(name.startswith(f"{prefix}weighting.") for name in state_dict)

    def batch(self, logits: Tensor, targets: Tensor) -> Batch:
        """Checks a batch as `forward` does, and takes it apart for `observe_batch`; changes nothing."""
        batch = batch_of(logits, targets, self.weighting.num_classes, self.smoothing, self.ignore_index)
        if batch.masses is not None:
            first = not (self._smoothing_checked or targets.is_meta or torch.compiler.is_compiling() or in_vmap())
            if batch.cheap or first:
                check_smoothing(batch.targets, self.smoothing)
                self._smoothing_checked = True
        return batch

    def observe_batch(self, batch: Batch, statistics: bool = True) -> None:
        """`observe` for a checked batch; without `statistics` only draws are counted."""
        weighting = self.weighting
        weighting.move_to(batch.logits.device)
        batch = batch.to(weighting.device64)
        if statistics:
            weighting.observe_batch(batch)
        self._checks.count(batch)


def _forget_counts(criterion: Criterion, incompatible_keys: Any) -> None:
    """Called after a state was loaded: drops the counts, which belong to another run."""
    if criterion._loads_weighting:
        criterion._keeps_radii = False
        criterion._checks.forget()


def check_criterion(criterion: object) -> None:
    """Raises TypeError unless `criterion` is a Criterion."""
    criterion = getattr(criterion, "_orig_mod", criterion)
    if not isinstance(criterion, Criterion):
        raise TypeError(
            f"Expected a criterion such as ReweightedLoss or LogitAdjustedLoss but got {type(criterion).__name__}: "
            "a weighting goes into one, ReweightedLoss(weighting)."
        )


class ReweightedLoss(Criterion):
    """Mean over the batch of alpha_y * l(x, y), the plain mean: E(alpha) = 1 keeps the scale of the loss.

    The loss of a target mixed of labels k with masses m_k is sum_k m_k alpha_k LS_eps(x, k), where LS_eps is the
    label-smoothed loss of the hard label k. Each constituent is weighted like a training sample of its own. In eval
    mode every alpha is 1.

    Args:
        weighting: provides the class weights, for example `ClassVolume`.
        base: `"softmax"`, `"sigmoid"`, `"focal"`, a `BaseLoss` such as `FocalLosses(gamma)`, or any callable that
            maps logits `[B, C]` and int64 labels `[B]` to one loss for each sample, `[B]`.
        smoothing: as in `Criterion`. A callable base applies smoothing itself; for it, this is only the smoothing that
            floating point targets contain.
        ignore_index: as in `Criterion`.
        reduction: as in `Criterion`.

    Raises:
        ValueError: for an unknown base, or a smoothing, ignore_index or reduction that does not fit.
        TypeError: for a base that cannot be called.

    Example:
        >>> import torch
        >>> from vlltr_plugin import ClassVolume, ReweightedLoss
        >>> criterion = ReweightedLoss(ClassVolume([900, 90, 9]), smoothing=0.1)
        >>> for epoch in range(2):
        ...     for _ in range(4):
        ...         logits = torch.randn(30, 3, requires_grad=True)
        ...         criterion(logits, torch.arange(30) % 3).backward()
        ...     statistics = criterion.end_epoch()
    """

    def __init__(
        self,
        weighting: Weighting,
        base: str | BaseLoss | PerSampleLoss = "softmax",
        smoothing: float = 0.0,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weighting, smoothing, ignore_index, reduction)
        self._base = base_loss(base)
        if isinstance(base, nn.Module) and not isinstance(base, BaseLoss):
            self._loss_per_sample = base  # its parameters are the criterion's, under a name that saved states have

    @property
    def base_name(self) -> str:
        """Name of the base loss."""
        return base_loss_name(self._base)

    def extra_repr(self) -> str:
        """As in `Criterion`, and the base loss."""
        return f"base={self.base_name!r}, {super().extra_repr()}"

    def _losses(self, batch: Batch, weighted: bool = True) -> Tensor:
        self.weighting.move_to(batch.logits.device)
        weights = self.weighting.weights
        alpha = (weights if weighted else torch.ones_like(weights)).to(batch.logits)
        if batch.masses is not None:
            weights = batch.masses.to(alpha) * (alpha / (1.0 - self.smoothing))
            return self._base.of_mixtures(batch.logits, weights, self.smoothing)
        return alpha.index_select(0, batch.targets) * self._base.of_labels(batch.logits, batch.targets, self.smoothing)
