"""Baselines: weightings that depend on class frequencies only, under the same normalisation."""

import math
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.arguments import Counts, check_number
from vlltr_plugin.core.saved_state import SavedState
from vlltr_plugin.core.torch_context import outside_inference_mode
from vlltr_plugin.core.weighting import Weighting

RADII_TOLERANCE = 1e-5  # absolute tolerance on the log radii of a saved state


class FrequencyWeighting(Weighting):
    """Weights that are known before training; they apply from `start_epoch` on, 0 by default (see `Weighting`).

    Each has the form alpha_i ~ r_i / q_i with q the draws or the counts (see `Weighting`), so all differ in
    the shape of r only.
    """

    @outside_inference_mode
    def __init__(self, class_counts: Counts, draws: Counts | None = None, **options: Any) -> None:
        super().__init__(class_counts, draws, **options)
        self._compute_radii()

    def _compute_radii(self) -> None:
        self._take_radii(torch.where(self.divisor > 0, self.log_shape(self.divisor), 0.0))
        self.begin_epoch(self.epoch)

    def _undo_cast(self) -> None:
        cast = self.log_radius64.dtype != torch.float64
        super()._undo_cast()
        if cast:
            self._compute_radii()

    def radii(self) -> Tensor | None:
        """Returns None: the radii never change."""
        return None

    def check_state(self, state: Any) -> SavedState:
        """As in `Weighting`; the radii must also equal those of this run up to a constant factor."""
        saved = super().check_state(state)
        tolerance = max(RADII_TOLERANCE, saved.precision * float(self.log_radius64.abs().max()))
        drawn = (self.divisor > 0).cpu()
        off = (saved.log_radius - self.log_radius64.cpu())[drawn]
        if not torch.allclose(off, off.mean(), rtol=0.0, atol=tolerance):
            raise ValueError(
                "Expected a state with the radii that these class counts and draws give but they differ: it is damaged "
                "or from a version in which the radii depended on the scale of `draws`. Start in a new folder."
            )
        return saved

    def log_shape(self, counts: Tensor) -> Tensor:
        """Log radii for counts q_i of one epoch (sum_i q_i = sum_i n_i), float64 `[C]`; q = 0 does not matter."""
        raise NotImplementedError


class Uniform(Weighting):
    """No re-weighting: every weight is exactly 1."""

    def weights_for(self, log_radius: Tensor) -> Tensor:
        """All 1."""
        return torch.ones_like(log_radius)

    def radii(self) -> Tensor | None:
        """Returns None: there are no radii."""
        return None


class InverseFrequency(FrequencyWeighting):
    """alpha_i ~ 1 / n_i: class volume with all radii equal."""

    def log_shape(self, counts: Tensor) -> Tensor:
        """r_i = 1."""
        return torch.zeros_like(counts)


class InverseSqrtFrequency(FrequencyWeighting):
    """alpha_i ~ 1 / sqrt(n_i)."""

    def log_shape(self, counts: Tensor) -> Tensor:
        """r_i = sqrt(q_i)."""
        return counts.log() / 2


class EffectiveNumber(FrequencyWeighting):
    """alpha_i ~ (1 - beta) / (1 - beta^n_i), the effective number of samples (Cui et al., CVPR 2019, Eq. 2).

    Args:
        class_counts: n_i, `[C]`.
        beta: 0 < beta < 1; 0.9999 is usual. Towards 1 it becomes inverse frequency.
        draws: m_i, as in `Weighting`.
        options: as in `Weighting`.
    """

    def __init__(self, class_counts: Counts, beta: float = 0.9999, draws: Counts | None = None, **options: Any) -> None:
        check_number("beta", beta)
        if not 0.0 < beta < 1.0:
            raise ValueError(f"Expected beta to lie between 0 and 1 but got {beta}.")
        self._log_beta = math.log(beta)
        super().__init__(class_counts, draws, **options)

    def log_shape(self, counts: Tensor) -> Tensor:
        """r_i = q_i / E_i, E_i = (1 - beta^q_i) / (1 - beta)."""
        log_effective = torch.log(-torch.expm1(counts * self._log_beta)) - math.log(-math.expm1(self._log_beta))
        return counts.log() - log_effective

    def settings(self) -> dict[str, Any]:
        """As in `Weighting`, and beta."""
        return {**super().settings(), "beta": math.exp(self._log_beta)}
