"""The base of all class weightings: counts, normalisation, the schedule over epochs, state."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.arguments import (
    Counts,
    check_choice,
    check_whole,
    draws_in_an_epoch,
    listed,
    numbers_of_classes,
    shortened,
    warn_caller,
)
from vlltr_plugin.core.batch import Batch
from vlltr_plugin.core.epoch_statistics import Statistics, expected_alpha
from vlltr_plugin.core.ranks import fail_together, refuse_differing_ranks, same_on_all_ranks
from vlltr_plugin.core.saved_state import WeightingState, progress_of
from vlltr_plugin.core.torch_context import outside_inference_mode

NORMALIZATIONS = ("expected", "dataset", "mean")

# Radii more than 38 digits apart (huge logits) would make a float32 weight 0, which no saved state may hold.
SMALLEST_WEIGHT = torch.finfo(torch.float32).tiny


class Weighting(WeightingState):
    """Base class of weightings: computes a radius for every class, and from the radii the class weights of a loss.

    Subclasses implement `radii`; this class turns them into weights (Eq. 6 and 10 to 16 of Zheng and Ng), at the end of
    an epoch only. Weights are all 1 until the first radii and until `start_epoch`.

    The state dict holds floating point tensors only, O(C), independent of torch's default dtype, so that a criterion
    inside a model works with EMA, SWA, averages of checkpoints, casts and other file formats. A resume from an average
    of states uses their settings, the averaged weights and radii, and the rounded mean of their epochs; pass `epoch` to
    `end_epoch` then. Weights are float32 on the device of the logits. The rest is float64, on the CPU if that device
    has no float64. Under `torch.device("meta")` the state is on the CPU, too. If FSDP's `MixedPrecision` has a
    `buffer_dtype`, the first step restores the precision of the buffers; after a resume, the weights that were measured
    are rounded to that dtype until the epoch ends.

    Args:
        class_counts: n_i, training samples of each class, whole numbers, `[C]`. A class without
            samples keeps weight 1 and stays out of the normalisation.
        draws: m_i, expected draws of each class in one epoch under the sampler in use, `[C]`; only the
            ratios matter (stored scaled to one epoch, sum_i m_i = sum_i n_i). Default: `class_counts`, as with a
            uniform sampler.
        counts: `"sampler"`: alpha ~ r_i / m_i; `"dataset"`: alpha ~ r_i / n_i, as Eq. 6 is written. Under a sampler
            that favours rare classes, `"dataset"` favours them further: a higher mean over the classes, less
            many-shot accuracy.
        normalize: `"expected"`, `"dataset"` or `"mean"`, see `core.weighting.class_weights`.
        start_epoch: first epoch (counted from 0) in which the weights apply ("deferred re-weighting"). As loss weights,
            they gained most from half of the epochs on in `tests/benchmarks`.

    Attributes:
        weights: alpha in force now, float32 `[C]`.
        margins: log alpha as `LogitAdjustedLoss` takes it, float64 `[C]`; see `update_margins`.
        num_classes: C.
        epoch: the epoch in progress, counted from 0.
        draws_given: the sum of the argument `draws`, before it is scaled to an epoch; 0 without it.

    Raises:
        ValueError: for counts that are no tensor, array or sequence of numbers, or negative, fractional, not finite or
            all 0, and for unknown options.
    """

    uses_logits = False  # True if the radii come from observed logits
    # Independent samples behind the radii, `[C]`; None if not known: radii not measured here, or samples not counted.
    samples: Tensor | None = None

    @outside_inference_mode
    def __init__(
        self,
        class_counts: Counts,
        draws: Counts | None = None,
        *,
        counts: str = "sampler",
        normalize: str = "expected",
        start_epoch: int = 0,
    ) -> None:
        super().__init__()
        class_counts = numbers_of_classes("class_counts", class_counts)
        if bool((class_counts != class_counts.round()).any()):
            raise ValueError("Expected class_counts to be whole numbers of samples but got fractions.")
        self.draws_given = 0.0 if draws is None else float(numbers_of_classes("draws", draws).sum())
        draws = class_counts.clone() if draws is None else draws_in_an_epoch(draws, class_counts)
        if not bool(((class_counts > 0) & (draws > 0)).any()):
            raise ValueError(
                "Expected a class with samples that is drawn but every count (or draw) is 0: create the weighting "
                "after the training set, from torch.bincount(labels, minlength=C)."
            )
        check_choice("counts", counts, ("sampler", "dataset"))
        check_choice("normalize", normalize, NORMALIZATIONS)
        check_whole("start_epoch", start_epoch, least=0)
        self.counts, self.normalize, self.start_epoch = counts, normalize, start_epoch
        self.num_classes, self.epoch, self.has_radii = len(class_counts), 0, False
        self.register_buffer("weights", torch.ones_like(class_counts, dtype=torch.float32))
        self.register_buffer("log_radius64", torch.zeros_like(class_counts))
        self.register_buffer("substitution", torch.zeros_like(class_counts))
        self.register_buffer("progress", class_counts.new_tensor(progress_of(0, False)))
        self.register_buffer("class_counts", class_counts, persistent=False)
        self.register_buffer("draws", draws)
        self._declared = {"class_counts": class_counts.clone(), "draws": draws.clone()}
        self.register_buffer("margins", torch.zeros_like(class_counts), persistent=False)
        empty = (class_counts == 0).nonzero().flatten().tolist()
        if empty:
            warn_caller(
                f"{len(empty)} of {len(class_counts)} classes have no samples ({listed(empty)}): "
                "their weight stays 1, and the normalisation leaves them out."
            )

    @property
    def log_radius(self) -> Tensor:
        """Log r_i of the next weights, float32 `[C]`; 0 until the first radii."""
        return self.log_radius64.float()

    @property
    def divisor(self) -> Tensor:
        """The divisor of the radii: the draws m_i or the counts n_i, float64 `[C]`."""
        return self.draws if self.counts == "sampler" else self.class_counts

    @property
    def active(self) -> bool:
        """True if weights other than 1 apply; does not read their values."""
        return self.has_radii and self.epoch >= self.start_epoch

    def radii(self) -> Tensor | None:
        """Log radii after an epoch, `[C]`; None if there are no new ones. Collective over the ranks."""
        raise NotImplementedError

    def small_sample_bias(self) -> Tensor | None:
        """How much few samples lower log r on average for normal logits, `[C]`; None if unknown."""
        return None

    def observe(self, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> None:
        """Feeds a training batch to the statistics; weightings without statistics ignore it."""

    def observe_batch(self, batch: Batch) -> None:
        """`observe` for a checked batch; removing ignored elements waits for a GPU."""
        kept = batch.rows_kept
        rows = (batch.logits, batch.targets) if kept is None else (batch.logits[kept], batch.targets[kept])
        self.observe(*rows, batch.smoothing)

    def forget_epoch(self) -> None:
        """Drops everything observed since the last epoch ended; does nothing for weightings without statistics."""

    @outside_inference_mode
    def end_epoch(self, epoch: int | None = None) -> Statistics:
        """Computes the next epoch's weights from this epoch's statistics; call it on every rank.

        Args:
            epoch: number of the epoch that ends, from 0; by default the one after the last that ended.

        Returns:
            Its numbers, see `statistics`.

        Raises:
            ValueError: on every rank, if ranks differ in settings, class counts, draws, weights or epoch, or if one of
                them fails; only the statistics have changed then. Also if a user's weighting returns radii of another
                shape, or radii that are not finite.
        """
        in_force, ended = self.weights.clone(), self.ended(epoch)
        refuse_differing_ranks(self.must_agree(ended), self.weights.device)
        self.fold(ended)
        return self.statistics(in_force)

    def ended(self, epoch: int | None) -> int:
        """Number of the epoch that ends: `epoch`; default: the epoch after the last that ended."""
        self._read_progress()
        return self.epoch if epoch is None else int(epoch)

    def must_agree(self, ended: int) -> dict[str, Any]:
        """Plain values that must be equal on all ranks when an epoch ends."""
        self._read_progress()
        share = self.draws / self.draws.sum()
        # Float32, because different devices may disagree about the last bits of float64.
        radii = {"has_radii": self.has_radii, "log_radius": self.log_radius.tolist()}
        return {**self.settings(), "draws": share.float().tolist(), **radii, "epoch": ended}

    @outside_inference_mode
    def fold(self, ended: int) -> None:
        """As `end_epoch`, after the ranks were compared."""
        radii, failure = None, None
        try:
            radii = self.radii()
            if radii is not None:
                self._refuse_unusable(radii)
        except (
            RuntimeError
        ):  # a failed collective or a full device: no further collective, since other ranks may be gone
            raise
        except Exception as error:
            failure = error
        fail_together(failure, radii is not None, self.weights.device)
        if radii is not None:
            self._take_radii(same_on_all_ranks(radii))
        self.begin_epoch(ended + 1)

    def statistics(self, in_force: Tensor, drawn: Tensor | None = None) -> Statistics:
        """The numbers of the epoch that has just ended, see `core.epoch_statistics`; unknown numbers are left out.

        Args:
            in_force: alpha during it, `[C]`.
            drawn: samples of each class that came in it, `[C]`.
        """
        alpha, draws = in_force.to(self.draws.device).double(), self.draws
        present, substituted = self.class_counts > 0, self.substituted
        statistics: Statistics = {
            "alpha_min": float(alpha[present].min()),
            "alpha_median": float(alpha[present].median()),
            "alpha_max": float(alpha[present].max()),
        }
        own = present & ~substituted
        if self.uses_logits and self.has_radii and bool(own.any()):
            statistics["log_radius_mean"] = float(self.log_radius64[own].mean())
        statistics["substituted"] = int((substituted & present).sum())
        statistics["skipped"] = int(getattr(self, "skipped", 0))
        statistics["expected_alpha"] = expected_alpha(alpha, draws)
        total = 0.0 if drawn is None else float(drawn.sum())
        if drawn is not None and total > 0:
            share = draws / draws.sum()
            variance = (share * (alpha - (share * alpha).sum()).square()).sum()
            statistics["drawn_alpha"] = float((drawn.to(alpha.device) * alpha).sum()) / total
            statistics["drawn_alpha_se"] = float((variance / total).sqrt())
        return statistics

    def _refuse_unusable(self, log_radius: Tensor) -> None:
        """Raises ValueError for radii that would broadcast, or give weights that are not finite."""
        if log_radius.shape != self.log_radius64.shape:
            raise ValueError(f"Expected log radii [{self.num_classes}], one a class, but got {list(log_radius.shape)}.")
        if not bool(log_radius.isfinite().all()):
            raise ValueError(f"Expected finite log radii but got {shortened(log_radius.tolist())}.")

    def _take_radii(self, log_radius: Tensor) -> None:
        self._refuse_unusable(log_radius)
        self.log_radius64.copy_(log_radius)
        self._go_on(self.epoch, has_radii=True)

    @outside_inference_mode
    def begin_epoch(self, epoch: int) -> None:
        """Applies the weights for `epoch`. `end_epoch` does this; call it yourself only in a loop that skips epochs."""
        self._read_progress()
        self._go_on(epoch, self.has_radii)
        if self.active:
            self.weights.copy_(self.weights_for(self.log_radius64).float())
        else:
            self.weights.fill_(1.0)
        self.update_margins()

    @outside_inference_mode
    def start_over(self, epoch: int = 0) -> None:
        """Begins `epoch` without any measured radii: weights that depend on logits are 1 until there are new radii."""
        self.forget_epoch()
        if self.uses_logits:
            self.log_radius64.zero_()
            self.substitution.zero_()
            self._go_on(epoch, has_radii=False)
        self.begin_epoch(epoch)

    @outside_inference_mode
    def carry_over(self, old: "Weighting", classes: Sequence[int] | None = None) -> None:
        """Copies the radii of another weighting for the classes that it has; other classes get the mean log radius.

        Use it when classes were added. The weights are computed from the new counts and draws, as soon as weights
        apply (`start_epoch`; give 0 to apply them in the first epoch of a new run).

        Args:
            old: a weighting with measured radii.
            classes: for each class of `old` its index here, all different; default: the first classes, in order.

        Raises:
            ValueError: if `old` has no radii, or classes do not fit.
        """
        places = list(range(old.num_classes)) if classes is None else [int(label) for label in classes]
        if not (self.uses_logits and old.uses_logits and old.has_radii):
            raise ValueError("Expected radii to carry over, measured from logits, but there are none: end an epoch.")
        if not (len(places) == len(set(places)) == old.num_classes and set(places) <= set(range(self.num_classes))):
            raise ValueError(
                f"Expected one class of 0..{self.num_classes - 1} for each of {old.num_classes} classes but got "
                f"{shortened(places)}."
            )
        log_radius, unknown = torch.zeros_like(self.log_radius64), torch.ones_like(self.substituted)
        log_radius[places] = old.log_radius64.to(self.device64)
        unknown[places] = old.substituted.to(self.device64)
        self.substituted = unknown
        self._forget_samples()
        self._take_radii(substitute(log_radius, unknown))
        self.begin_epoch(self.epoch)

    @outside_inference_mode
    def update_margins(self) -> None:
        """Sets `margins` to log alpha; all radii count as equal until they apply (`active`).

        A class without samples or draws has no alpha: it gets the largest of the others, as if it were the rarest.
        """
        alpha = self.weights_for(self.log_radius64 if self.active else torch.zeros_like(self.log_radius64))
        present = (self.class_counts > 0) & (self.draws > 0)
        log_alpha = alpha.double().log()
        self.margins.copy_(torch.where(present, log_alpha, log_alpha[present].max()))

    def weights_for(self, log_radius: Tensor) -> Tensor:
        """The weights for given radii, float64 `[C]`."""
        return class_weights(log_radius, self.divisor, self.class_counts, self.draws, self.normalize)

    def settings(self) -> dict[str, Any]:
        """Settings that must agree between a run and a state that it loads, as Python values."""
        return {
            "type": type(self).__name__,
            "num_classes": self.num_classes,
            "counts": self.counts,
            "normalize": self.normalize,
            "start_epoch": self.start_epoch,
            "class_counts": [round(n) for n in self._declared["class_counts"].tolist()],
        }

    def extra_repr(self) -> str:
        """The settings, in `print(criterion)`."""
        shown = {key: value for key, value in self.settings().items() if key not in ("type", "class_counts")}
        return ", ".join(f"{key}={value!r}" for key, value in shown.items())


def class_weights(log_radius: Tensor, divisor: Tensor, class_counts: Tensor, draws: Tensor, normalize: str) -> Tensor:
    """Class weights alpha, float64 `[C]`; a class without samples or draws gets 1 and is not normalised.

    The divisor is n_i (Eq. 6) or the expected draws m_i. `normalize` is `"expected"`, E(alpha) = 1 over the draws (the
    principle of Eq. 10), `"dataset"`, E(alpha) = 1 over the data set (Eq. 16), or `"mean"`, mean 1 over the classes.
    """
    present = (class_counts > 0) & (draws > 0)
    log_raw = (log_radius.double() - divisor.double().log()).masked_fill(~present, -torch.inf)
    raw = (log_raw - log_raw.max()).exp()
    share = {"expected": draws, "dataset": class_counts, "mean": torch.ones_like(draws)}[normalize].double()
    share = share.masked_fill(~present, 0.0)
    beta = share.sum() / (share * raw).sum()
    return torch.where(present, (beta * raw).clamp(min=SMALLEST_WEIGHT), 1.0)


def substitute(log_radius: Tensor, under_represented: Tensor) -> Tensor:
    """Gives under-represented classes the mean log radius of the others (paper, section 3.3; "S30")."""
    return torch.where(under_represented, log_radius[~under_represented].mean(), log_radius)
