"""Class-volume weighting (Zheng and Ng, "Class-Balanced Loss Based on Class Volume")."""

import warnings
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.arguments import Counts, check_choice, check_whole, listed
from vlltr_plugin.core.batch import all_within_reach, are_sound
from vlltr_plugin.core.columns import sampled_columns
from vlltr_plugin.core.moments import ClassCovariances, ClassMoments, mean_log_axis
from vlltr_plugin.core.normalization import log_sigma_bias, log_volume_bias, substitute
from vlltr_plugin.core.ranks import collective_device, merge_moments, sum_over_ranks
from vlltr_plugin.core.targets import are_mixtures, check_targets, check_tensors, constituents
from vlltr_plugin.core.torch_context import cheap_to_read, outside_inference_mode
from vlltr_plugin.core.weighting import Weighting

FAULTS = ("skipped rows", "labels out of range", "targets that are no mixture of two labels")
"""Counted on the device and read at the end of the epoch, so that no step waits for a GPU."""

MASS_TOLERANCE = 1e-3
"""Masses of mixed targets add up with rounding: that many samples short still counts as enough."""


class ClassVolume(Weighting):
    """alpha_i ~ r_i / n_i, r_i = v_i^(1/D) the radius of the volume that class i fills in logit space.

    Statistics stream from the training pass (`observe`, or through `ReweightedLoss`); `end_epoch` turns them
    into weights and starts them anew. State is O(C*D) for dv and bv (D = `features` where given), O(C*D*D) for pv,
    whatever the samples.

    A class with more samples in an epoch than it has training samples has shown some of them again (several passes or
    views, a weighted sampler): its variance is that of n_i samples, see `ClassMoments.degrees_of_freedom`, so that an
    epoch seen k times gives the radii of an epoch seen once.

    Variants: `"dv"` takes the standard deviations of the logits (D = C). `"bv"` those of the C - 1 differences
    f_i - f_j (Eq. 8 and 9). `"pv"` those along the principal axes of the class (Eq. 7).

    Args:
        class_counts: n_i, training samples of each class, `[C]`.
        draws: m_i, expected draws in one epoch, `[C]`; default `class_counts`.
        variant: `"dv"`, `"bv"` or `"pv"`.
        min_samples: classes with fewer samples (of n_i and of the mass observed the smaller), or
            without volume, take the mean log radius of the others; 30 is the paper's "S30". At least 2.
        normalize: see `Weighting`.
        start_epoch: first epoch (from 0) in which weights may differ from 1.
        counts: see `Weighting`.
        axes: for pv, the number of principal axes that count (all by default). Logits made of fewer features than
            classes span no more dimensions than features: without a smaller `axes` no class has a volume then.
        debias: add what log sigma of few normal samples lacks on average (dv and bv).
        assign: what a mixed sample counts for: `"dominant"`, for the heavier of its two labels, as one whole
            sample (ranks the classes more like unmixed images do: `tests/benchmarks/assign.py`), or `"mass"`, for
            both labels by mass.
        features: for dv and bv, take the statistics of that many logits only, a fixed random sample (bv: of the
            differences with them), and 12 bytes x C x features for them. All by default, as the paper. Classes keep
            their rank where the standard deviation of log sigma over a class's logits, divided by sqrt(features), is
            small against that of the log radii over the classes.
        feature_seed: of that sample.
        memory_limit: bytes that pv's covariances may take.

    Raises:
        ValueError: for unknown options, and for pv where the covariances exceed `memory_limit`.

    Example:
        >>> weighting = ClassVolume([900, 90, 9])
        >>> weighting.observe(torch.randn(60, 3), torch.arange(60) % 3)
        >>> statistics = weighting.end_epoch()
        >>> weighting.weights.argmax().item()
        2
    """

    uses_logits = True

    @outside_inference_mode
    def __init__(
        self,
        class_counts: Counts,
        draws: Counts | None = None,
        variant: str = "dv",
        min_samples: int = 2,
        normalize: str = "expected",
        start_epoch: int = 1,
        *,
        counts: str = "sampler",
        axes: int | None = None,
        debias: bool = False,
        assign: str = "dominant",
        features: int | None = None,
        feature_seed: int = 0,
        memory_limit: int = 2**30,
    ) -> None:
        super().__init__(class_counts, draws, counts=counts, normalize=normalize, start_epoch=start_epoch)
        check_choice("variant", variant, ("dv", "bv", "pv"))
        check_choice("assign", assign, ("mass", "dominant"))
        check_choice("debias", debias, (False, True))
        check_whole("min_samples", min_samples, least=2)  # one sample has no spread
        if axes is not None:
            check_whole("axes", axes, least=1)
        if axes is not None and (variant != "pv" or axes > self.num_classes):
            raise ValueError(f"Expected axes (1 to {self.num_classes}) with variant='pv' only but got {axes}.")
        if debias and variant == "pv":
            raise ValueError("Expected debias with variant 'dv' or 'bv' only: pv's axes are biased differently.")
        if variant == "bv" and self.num_classes < 2:
            raise ValueError("Expected at least 2 classes for variant='bv', which takes differences of logits.")
        if features is not None and variant == "pv":
            raise ValueError("Expected features with variant 'dv' or 'bv' only: a sample of columns has other axes.")
        self._columns = sampled_columns(self.num_classes, features, feature_seed, least=2 if variant == "bv" else 1)
        if variant == "pv":
            _refuse_memory(ClassCovariances.bytes_needed(self.num_classes, self.num_classes), memory_limit)
        self.variant, self.axes, self.assign = variant, axes, assign
        self.min_samples, self.debias = min_samples, bool(debias)
        self.features, self.feature_seed = features, feature_seed
        self._largest_class = float(torch.maximum(self.class_counts, self.draws).max())
        self._moments: ClassMoments | None = None
        self._faults = self.class_counts.new_zeros(len(FAULTS))
        self.skipped = 0

    @outside_inference_mode
    def observe(self, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> None:
        """Adds a batch to the statistics of the running epoch. Nothing here waits for a GPU.

        Rows with a logit that is infinite, nan or masked (see `core.batch.are_sound`), among those that the statistics
        are taken of, are left out and counted (`skipped`). Where every row is masked, as in class-incremental learning,
        observe the logits from before the mask.

        Args:
            logits: `[B, C]`, any floating point type.
            targets: labels, int64 `[B]`, or mixtures of at most two labels, floating point `[B, C]`.
            smoothing: the label smoothing already in floating point targets.

        Raises:
            ValueError: for shapes that do not fit, labels out of range, or floating point targets that are no
                mixture of at most two labels with that smoothing (both on a GPU: raised by `end_epoch`).
            TypeError: for dtypes that do not fit, and for what is no tensor.
        """
        self._observe(logits, targets, smoothing, None)

    @outside_inference_mode
    def observe_kept(self, logits: Tensor, targets: Tensor, smoothing: float, kept: Tensor) -> None:
        """`observe` of the rows where `kept`, bool `[B]`, without waiting for a GPU."""
        self._observe(logits, targets, smoothing, kept)

    def _observe(self, logits: Tensor, targets: Tensor, smoothing: float, kept: Tensor | None) -> None:
        check_tensors(logits, targets)
        if logits.is_meta and not self.weights.is_meta:
            raise ValueError("Expected logits to observe but got a tensor without data, on the meta device.")
        self.follow(logits.device)
        logits, targets = logits.detach().to(self.home), targets.detach().to(self.home)  # recorded nowhere from here
        kept = None if kept is None else kept.to(self.home)
        check_targets(logits, targets, self.num_classes)
        labels, masses, mixture = self._samples(targets, smoothing)
        if mixture is not None and cheap_to_read(mixture) and not bool(mixture.all()):
            raise ValueError(_no_mixture(int((~mixture).sum()), smoothing))
        rows = self._features_of(logits, labels)
        if rows.dtype != torch.float64:  # float64 is rounded only once the pivot is off
            rows = rows.float()
        if kept is None and cheap_to_read(rows) and all_within_reach(rows):
            self._add(rows, labels, masses)
        else:
            self._add_sound_rows(rows, labels, masses, are_sound(rows), mixture, kept)

    def radii(self) -> Tensor | None:
        """Log radii from the statistics of all ranks, which start anew."""
        self.follow(collective_device(self.weights.device))
        moments = self._moments or self._new_moments()
        skipped, out_of_range, no_mixture = sum_over_ranks(self._faults).tolist()
        self.forget_epoch()
        self.skipped = int(skipped)
        if out_of_range:
            raise ValueError(f"Expected labels in 0..{self.num_classes - 1} but {int(out_of_range)} lay outside.")
        if no_mixture:
            raise ValueError(_no_mixture(int(no_mixture)))
        merge_moments(moments)
        self._warn_of_empty_classes(moments.mass)
        if not isinstance(moments, ClassCovariances):
            return self._complete(moments.mean_log_sigma(self.class_counts), moments.mass)
        variances = moments.axis_variances(self.class_counts)
        spanned = int((variances > 0).sum(dim=1).max())
        return self._complete(mean_log_axis(variances, self.axes or self.num_classes), moments.mass, spanned)

    def set_extra_state(self, state: Any) -> None:
        """As in `Weighting`; what was observed before a state is loaded belongs to another run."""
        super().set_extra_state(state)
        self.forget_epoch()

    @outside_inference_mode
    def forget_epoch(self) -> None:
        """As in `Weighting`."""
        self._moments, self.skipped = None, 0
        self._faults.zero_()

    def small_sample_bias(self) -> Tensor | None:
        """As in `Weighting`; that of pv's first few axes hangs on all of them, so it is not known."""
        if self.samples is None or (self.axes or self.num_classes) < self.num_classes:
            return None
        if self.debias:
            return torch.zeros_like(self.samples)
        return log_volume_bias(self.samples, self.num_classes if self.variant == "pv" else 1)

    def settings(self) -> dict[str, Any]:
        """As in `Weighting`, and the estimator's own."""
        names = ["variant", "axes", "min_samples", "debias", "assign"]
        names += ["features", "feature_seed"] if self.features is not None else []
        return {**super().settings(), **{name: getattr(self, name) for name in names}}

    def _warn_of_empty_classes(self, mass: Tensor) -> None:
        unexpected = ((self.class_counts == 0) & (mass > 0)).nonzero().flatten().tolist()
        if unexpected:
            warnings.warn(
                f"Samples came of classes that class_counts calls empty ({listed(unexpected)}): their weight stays 1.",
                stacklevel=5,
            )

    def _complete(self, log_radius: Tensor, mass: Tensor, spanned: int | None = None) -> Tensor | None:
        """Corrects, and substitutes for under-represented classes; None when nothing can be estimated.

        Args:
            log_radius: as measured, `[C]`.
            mass: of the samples, `[C]`.
            spanned: for pv, the dimensions that the samples of a class span at most.
        """
        samples = torch.minimum(self.class_counts, mass)
        few = samples < self.min_samples - MASS_TOLERANCE
        if self.debias:
            log_radius = log_radius + log_sigma_bias(samples.clamp(min=1.5))
        under_represented = few | ~log_radius.isfinite()
        if bool(under_represented.all()):
            warnings.warn(f"{self._what_lacks(mass, spanned)}: the weights stay as they are.", stacklevel=6)
            return None
        self.substituted, self.samples = under_represented, samples
        return substitute(log_radius, under_represented)

    def _what_lacks(self, mass: Tensor, spanned: int | None) -> str:
        """Why no class has a radius; arguments as for `_complete`."""
        left_out = f"{self.skipped} of {round(float(mass.sum())) + self.skipped} rows were not finite, or masked"
        if not bool((mass > 0).any()):
            if self.skipped:
                return (
                    f"No class has statistics of this epoch, since {left_out} (with -inf, -1e9 or the like: give "
                    "criterion.observe the logits from before the mask, and train with criterion.losses)"
                )
            where = "in eval mode, under no_grad or torch.func, or all ignored"
            return f"No training batch was observed this epoch (criterion {where}?)"
        axes = self.axes or self.num_classes
        if spanned and spanned < axes:
            return (
                f"No class spans {axes} dimensions of the logits this epoch, {spanned} at most (no more than the "
                f"features that the logits are made of, or the samples): give axes={spanned} or fewer, or variant='dv'"
            )
        reason = f"No class had {self.min_samples} samples that differ in every logit this epoch"
        return f"{reason} ({left_out})" if self.skipped else reason

    def _samples(self, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Labels `[B, K]` that rows count for; their masses, None for whole samples; which rows are mixtures of two."""
        if not targets.is_floating_point():
            return targets.unsqueeze(1), None, None
        labels, masses = constituents(targets, smoothing)
        mixture = are_mixtures(masses, targets.dtype)
        if self.assign == "dominant":
            return labels[:, :1], None, mixture
        return labels, masses, mixture

    def _add(self, rows: Tensor, labels: Tensor, masses: Tensor | None) -> None:
        """Adds features `[B, D]` for labels and masses `[B, K]` (None: whole samples)."""
        if self._moments is None:
            self._moments = self._new_moments()
        for k, label in enumerate(labels.unbind(1)):
            own = self._with_own(rows, k)
            self._moments.add(own, label, None if masses is None else masses[:, k])

    def _features_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The logits that statistics are taken of: all, or the sampled ones and for bv, behind them, the K own ones."""
        if self._columns is None:
            return logits
        sampled = logits.index_select(1, self._columns)
        if self.variant != "bv":
            return sampled
        return torch.cat([sampled, logits.gather(1, labels.clamp(0, self.num_classes - 1))], dim=1)

    def _with_own(self, rows: Tensor, k: int) -> Tensor:
        """Of features with K own logits behind them, those of the k-th label."""
        if self._columns is None or self.variant != "bv":
            return rows
        sampled, own = rows[:, : len(self._columns)], rows[:, len(self._columns) :]
        return torch.cat([sampled, own[:, k, None]], dim=1) if own.shape[1] > 1 else rows

    def _add_sound_rows(
        self,
        rows: Tensor,
        labels: Tensor,
        masses: Tensor | None,
        finite: Tensor,
        mixture: Tensor | None,
        kept: Tensor | None = None,
    ) -> None:
        """As `_add`, without looking at the data: faulty rows weigh nothing and are counted, others than `kept` not."""
        valid = (labels >= 0) & (labels < self.num_classes)
        mixture = torch.ones_like(finite) if mixture is None else mixture
        kept = torch.ones_like(finite) if kept is None else kept
        at_fault = (~finite & kept, ~valid & kept[:, None], ~mixture & kept)
        self._faults += torch.stack([fault.sum() for fault in at_fault])
        sound = (finite & mixture & kept)[:, None] & valid
        masses = sound.float() if masses is None else masses * sound
        self._add(torch.where(finite[:, None], rows, 0.0), labels.clamp(0, self.num_classes - 1), masses)

    def _new_moments(self) -> ClassMoments:
        return self.empty_moments(self.home)

    def empty_moments(self, device: torch.device) -> ClassMoments:
        """Statistics of no sample, on a device (`meta` to know their size)."""
        columns = None if self._columns is None else self._columns.to(device)
        dim = self.num_classes if columns is None else len(columns)
        if self.variant == "pv":
            return ClassCovariances(self.num_classes, dim, device)
        most = self._largest_class
        if self.variant == "dv" or columns is None:
            return ClassMoments(self.num_classes, dim, device, differences=self.variant == "bv", samples=most)
        return ClassMoments(self.num_classes, dim + 1, device, differences=True, columns=columns, samples=most)

    def _apply(self, fn: Any, recurse: bool = True) -> "ClassVolume":
        super()._apply(fn, recurse)
        self._faults = self._faults.to(self.home)
        self._columns = None if self._columns is None else self._columns.to(self.home)
        if self._moments is not None:
            self._moments.to(self.home)
        return self


def _no_mixture(number: int, smoothing: float | None = None) -> str:
    told = "" if smoothing is None else f" smoothed by {smoothing:g}"
    return (
        f"Expected soft targets that are mixtures of at most two labels{told}, rows summing to 1, but {number} are "
        "not: give the label smoothing that they contain, or hard labels (multi-label targets are not supported)."
    )


def _refuse_memory(needed: int, limit: int) -> None:
    if needed > limit:
        raise ValueError(
            f"Expected covariances within memory_limit={limit:,} bytes but variant='pv' needs {needed:,} bytes "
            f"({needed / 2**30:.1f} GiB): use variant='dv' or 'bv' (the paper finds no clear difference between "
            "them), or raise memory_limit."
        )
