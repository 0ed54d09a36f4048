"""Class-volume weighting (Zheng and Ng, "Class-Balanced Loss Based on Class Volume")."""

from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.arguments import Counts, check_choice, check_number, check_whole, listed, warn_caller
from vlltr_plugin.core.batch import (
    NEGLIGIBLE_MASS,
    Batch,
    all_within_reach,
    are_sound,
    batch_of,
    tolerance_of,
    two_largest,
)
from vlltr_plugin.core.moments import ClassCovariances, ClassDifferences, ClassMoments, log_sigma_bias, log_volume_bias
from vlltr_plugin.core.ranks import collective_device, merge_moments, sum_over_ranks
from vlltr_plugin.core.torch_context import outside_inference_mode
from vlltr_plugin.core.weighting import Weighting, substitute

# Counted on the device and read at the end of the epoch, so that no step waits for a GPU.
FAULTS = ("skipped rows", "labels out of range", "targets that are no mixture of two labels")
MASS_TOLERANCE = 1e-3  # rounding tolerance of summed masses: a class this many samples short still has enough


class ClassVolume(Weighting):
    """alpha_i ~ r_i / n_i, where r_i = v_i^(1/D) is the radius of the volume that class i fills in logit space.

    Statistics are collected in the training pass (by `observe`, or through `ReweightedLoss`). `end_epoch` turns them
    into weights and resets them. The state is O(C*D) for dv and bv (D = `features` where given) and O(C*D*D) for pv,
    for any number of samples.

    If a class has more samples in an epoch than training samples, some were drawn repeatedly (several passes or views,
    a weighted sampler). Its variance is then computed as for n_i samples, see `ClassMoments.degrees_of_freedom`, so
    that an epoch seen k times gives the same radii as an epoch seen once.

    Variants: `"dv"` uses the standard deviations of the logits (D = C); `"bv"` those of the C - 1 differences
    f_i - f_j (Eq. 8 and 9); `"pv"` those along the principal axes of the class (Eq. 7).

    Args:
        class_counts: n_i, training samples of each class, `[C]`.
        draws: m_i, expected draws in one epoch, `[C]`; default `class_counts`.
        variant: `"dv"`, `"bv"` or `"pv"`.
        min_samples: classes with fewer samples (the smaller of n_i and the mass observed), or
            without volume, take the mean log radius of the others; 30 is the paper's "S30". At least 2.
        normalize: see `Weighting`.
        start_epoch: first epoch (from 0) in which weights may differ from 1; see `Weighting`.
        counts: see `Weighting`.
        axes: for pv, the number of principal axes to use (all by default). Logits computed from fewer features than
            classes span no more dimensions than features; then no class has a volume unless `axes` is smaller.
        debias: correct the bias of log sigma of few normal samples (dv and bv).
        assign: which class a mixed sample counts for: `"dominant"`, the heavier of its two labels, as one whole
            sample (this ranks the classes more like unmixed images: `tests/benchmarks/assign.py`), or `"mass"`,
            both labels by their mass.
        features: for dv and bv, use a fixed random sample of that many logits only (bv: the differences with them);
            the statistics take 12 bytes x C x features. All by default, as in the paper. Classes keep their rank if
            the standard deviation of log sigma over a class's logits, divided by sqrt(features), is small compared
            with that of the log radii over the classes.
        feature_seed: seed of that sample.
        memory_limit: largest size of pv's covariances, in bytes.

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
        check_number("memory_limit", memory_limit)
        self._columns = _sampled_columns(variant, self.num_classes, axes, debias, features, feature_seed, memory_limit)
        self.variant, self.axes, self.assign = variant, axes, assign
        self.min_samples, self.debias = min_samples, bool(debias)
        self.features, self.feature_seed = features, feature_seed
        self._largest_class = float(torch.maximum(self.class_counts, self.draws).max())
        self._moments: ClassMoments | None = None
        self._faults = self.class_counts.new_zeros(len(FAULTS))
        self.skipped = 0

    def observe(self, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> None:
        """Adds a batch to the statistics of the running epoch. Nothing here waits for a GPU.

        Rows with an infinite, nan or masked logit (see `core.batch.are_sound`), among the logits that the statistics
        use, are left out and counted (`skipped`). If every row is masked, as in class-incremental learning, observe
        the logits from before the mask.

        Args:
            logits: `[B, C]`, any floating point type.
            targets: labels, int64 `[B]`, or mixtures of at most two labels, floating point `[B, C]`.
            smoothing: the label smoothing already in floating point targets.

        Raises:
            ValueError: for shapes that do not fit, labels out of range, or floating point targets that are no
                mixture of at most two labels with that smoothing (on a GPU `end_epoch` raises these two).
            TypeError: for dtypes that do not fit, and for what is no tensor.
        """
        self._observe(batch_of(logits, targets, self.num_classes, smoothing, dense=False))

    def observe_batch(self, batch: Batch) -> None:
        """As in `Weighting`, without waiting for a GPU. If a subclass overrides `observe`, every batch goes there."""
        if type(self).observe is ClassVolume.observe:
            self._observe(batch)
        else:
            super().observe_batch(batch)

    @outside_inference_mode
    def _observe(self, batch: Batch) -> None:
        if batch.logits.is_meta and not self.weights.is_meta:
            raise ValueError("Expected logits to observe but got a tensor without data, on the meta device.")
        self.move_to(batch.logits.device)
        batch = batch.to(self.device64)
        labels, masses, mixture, kept = batch.targets[:, None], None, None, batch.rows_kept
        if batch.masses is not None:
            masses, labels = two_largest(batch.masses.detach())
            masses = masses / (1.0 - batch.smoothing)
            mixture = (masses.sum(dim=1) - 1).abs() <= tolerance_of(batch.targets.dtype) + NEGLIGIBLE_MASS
            if batch.cheap and not bool(mixture.all()):
                raise ValueError(_no_mixture(int((~mixture).sum()), batch.smoothing))
            if self.assign == "dominant":
                labels, masses = labels[:, :1], None
            else:
                masses = masses.masked_fill_(~(masses >= NEGLIGIBLE_MASS), 0.0)
        if self._moments is None:
            self._moments = self.empty_moments(self.device64)
        rows = self._moments.rows_of(batch.logits.detach(), labels)
        if not (batch.cheap and kept is None and all_within_reach(rows)):
            sound = are_sound(rows)
            valid = (labels >= 0) & (labels < self.num_classes)
            mixture = torch.ones_like(sound) if mixture is None else mixture
            kept = torch.ones_like(sound) if kept is None else kept
            at_fault = (~sound & kept, ~valid & kept[:, None], ~mixture & kept)
            self._faults += torch.stack([fault.sum() for fault in at_fault])
            counted = (sound & mixture & kept)[:, None] & valid
            masses = counted.float() if masses is None else masses * counted
            rows, labels = torch.where(sound[:, None], rows, 0.0), labels.clamp(0, self.num_classes - 1)
        for k, label in enumerate(labels.unbind(1)):
            self._moments.add(self._moments.rows_for(rows, k), label, None if masses is None else masses[:, k])

    def radii(self) -> Tensor | None:
        """Log radii from the statistics of all ranks; resets the statistics."""
        self.move_to(collective_device(self.weights.device))
        moments = self._moments or self.empty_moments(self.device64)
        skipped, out_of_range, no_mixture = sum_over_ranks(self._faults).tolist()
        self.forget_epoch()
        self.skipped = int(skipped)
        if out_of_range:
            raise ValueError(f"Expected labels in 0..{self.num_classes - 1} but {int(out_of_range)} are out of range.")
        if no_mixture:
            raise ValueError(_no_mixture(int(no_mixture)))
        merge_moments(moments)
        unexpected = ((self.class_counts == 0) & (moments.mass > 0)).nonzero().flatten().tolist()
        if unexpected:
            warn_caller(f"Got samples of classes with class_counts 0 ({listed(unexpected)}); their weight stays 1.")
        samples = torch.minimum(self.class_counts, moments.mass)
        log_radius = moments.log_radius(self.class_counts)
        if self.debias:
            log_radius = log_radius + log_sigma_bias(samples.clamp(min=1.5))
        under_represented = (samples < self.min_samples - MASS_TOLERANCE) | ~log_radius.isfinite()
        if bool(under_represented.all()):
            warn_caller(f"{self._why_no_radius(moments)}: the weights stay as they are.")
            return None
        self.substituted, self.samples = under_represented, samples
        return substitute(log_radius, under_represented)

    def set_extra_state(self, state: Any) -> None:
        """As in `Weighting`; drops the observed statistics, which belong to another run."""
        super().set_extra_state(state)
        self.forget_epoch()

    @outside_inference_mode
    def forget_epoch(self) -> None:
        """As in `Weighting`."""
        self._moments, self.skipped = None, 0
        self._faults.zero_()

    def small_sample_bias(self) -> Tensor | None:
        """As in `Weighting`; not known for pv's first few axes, whose bias depends on all axes."""
        if self.samples is None or self.axes not in (None, self.num_classes):
            return None
        dim = self.num_classes if self.variant == "pv" else 1
        return torch.zeros_like(self.samples) if self.debias else log_volume_bias(self.samples, dim)

    def settings(self) -> dict[str, Any]:
        """As in `Weighting`, and the estimator's own."""
        names = ["variant", "axes", "min_samples", "debias", "assign"]
        names += ["features", "feature_seed"] if self.features is not None else []
        return {**super().settings(), **{name: getattr(self, name) for name in names}}

    def empty_moments(self, device: torch.device) -> ClassMoments:
        """Empty statistics on a device (`meta` to compute their size)."""
        if self.variant == "pv":
            return ClassCovariances(self.num_classes, self.num_classes, device, self.axes)
        columns = None if self._columns is None else self._columns.to(device)
        if self.variant == "bv":
            return ClassDifferences(self.num_classes, device, self._largest_class, columns)
        dim = self.num_classes if columns is None else len(columns)
        return ClassMoments(self.num_classes, dim, device, self._largest_class, columns)

    def _why_no_radius(self, moments: ClassMoments) -> str:
        """The reason why no class has a radius, for a warning."""
        rows = round(float(moments.mass.sum())) + self.skipped
        left_out = f"{self.skipped} of {rows} rows were not finite, or masked"
        if not bool((moments.mass > 0).any()):
            if self.skipped:
                return (
                    f"No class has statistics of this epoch, since {left_out} (with -inf, -1e9 or the like: give "
                    "criterion.observe the logits from before the mask, and train with criterion.losses(masked, "
                    "targets, 'mean'))"
                )
            return (
                "No training batch was observed this epoch (criterion in eval mode, under no_grad or torch.func, all "
                "labels ignored, or end_epoch called twice?)"
            )
        if reason := moments.why_no_radius(self.class_counts):
            return reason
        reason = f"No class had {self.min_samples} samples that differ in every logit this epoch"
        return f"{reason} ({left_out})" if self.skipped else reason

    def _apply(self, fn: Any, recurse: bool = True) -> "ClassVolume":
        super()._apply(fn, recurse)
        self._faults = self._faults.to(self.device64)
        if self._moments is not None:
            self._moments.to(self.device64)
        return self


def _sampled_columns(
    variant: str, num_classes: int, axes: int | None, debias: bool, features: int | None, seed: int, memory_limit: int
) -> Tensor | None:
    """Indices of the logits that a variant uses, ascending; None for all. ValueError for options that do not fit."""
    if axes is not None:
        check_whole("axes", axes, least=1)
    if axes is not None and (variant != "pv" or axes > num_classes):
        raise ValueError(f"Expected axes (1 to {num_classes}) with variant='pv' only but got {axes}.")
    if variant == "pv" and debias:
        raise ValueError("Expected debias with variant 'dv' or 'bv' only: pv's axes are biased differently.")
    if variant == "pv" and features is not None:
        raise ValueError("Expected features with variant 'dv' or 'bv' only: a sample of columns has other axes.")
    if variant == "bv" and num_classes < 2:
        raise ValueError("Expected at least 2 classes for variant='bv', which takes differences of logits.")
    check_whole("feature_seed", seed, least=0)
    needed = num_classes**3 * torch.float64.itemsize
    if variant == "pv" and needed > memory_limit:
        raise ValueError(
            f"Expected covariances within memory_limit={memory_limit:,} bytes but variant='pv' needs {needed:,} bytes "
            f"({needed / 2**30:.1f} GiB): use variant='dv' or 'bv' (the paper finds no clear difference between them), "
            "or raise memory_limit."
        )
    if features is None:
        return None
    check_whole("features", features, least=2 if variant == "bv" else 1)
    if features > num_classes:
        raise ValueError(f"Expected features to be at most the {num_classes} classes but got {features}.")
    # Without replacement, so the mean of log sigma over them estimates the mean over all without bias.
    generator = torch.Generator(device="cpu").manual_seed(seed)
    columns = torch.randperm(num_classes, generator=generator, device="cpu")[:features].sort().values
    return columns if features < num_classes else None


def _no_mixture(number: int, smoothing: float | None = None) -> str:
    smoothed = "" if smoothing is None else f" smoothed by {smoothing:g}"
    return (
        f"Expected soft targets that are mixtures of at most two labels{smoothed}, rows summing to 1, but {number} are "
        "not: give the label smoothing that they contain, or hard labels (multi-label targets are not supported)."
    )
