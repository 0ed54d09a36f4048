"""The state of a weighting as floating point tensors only, for code that expects tensors in a state dict.

It survives averages of states (EMA, SWA, "model soup"), a cast to half and other file formats: settings are the
character codes of a JSON text, rounded on reading (at most 126, exact in bfloat16 too); booleans are 0 and 1.
Integers would not do: 0.9998 * 97 + 0.0002 * 97 = 96.99999 becomes 96.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.arguments import shortened

SETTINGS = "_extra_state"
ENTRIES = ("weights", "log_radius64", "substitution", "draws", "progress", SETTINGS)

DIGIT = 256  # base of the digits of the epoch: whole numbers up to it are exact in bfloat16
ROUNDING = 0.1  # how far a character code may be off a whole number; averages of equal ones are off by far less


@dataclass(frozen=True)
class SavedState:
    """A state that was read and checked; float64 tensors `[C]` on the CPU.

    Of an average of states: the rounded mean epoch, radii if one of them had radii (their mean over those that had),
    and substitution by majority.
    """

    settings: dict[str, Any]
    epoch: int
    has_radii: bool
    weights: Tensor
    log_radius: Tensor
    substituted: Tensor
    draws: Tensor
    precision: float  # relative, of the floating point type that the draws were saved in
    largest: float  # of that type; draws beyond it are saved as infinite (more than 65504 in half precision)

    def tensors(self) -> dict[str, Tensor]:
        """The entries that a weighting takes from it, by name."""
        return {
            "weights": self.weights.float(),
            "log_radius64": self.log_radius,
            "substitution": self.substituted.double(),
            "progress": torch.tensor(progress_of(self.epoch, self.has_radii), dtype=torch.float64, device="cpu"),
        }


def progress_of(epoch: int, has_radii: bool) -> list[float]:
    """The lowest digit of the epoch, `has_radii`, the next digit, and the rest: exact in half, and open to averages."""
    rest, lowest = divmod(epoch, DIGIT)
    rest, middle = divmod(rest, DIGIT)
    return [float(lowest), float(has_radii), float(middle), float(rest)]


def epoch_of(progress: list[float]) -> int:
    """The epoch in what `progress_of` gave, or in a mean of such lists, rounded."""
    lowest, _, middle, rest = progress
    return round(lowest + DIGIT * (middle + DIGIT * rest))


def as_saved(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are read from a state, after JSON: tuples as lists, unknown types as text."""
    values: dict[str, Any] = json.loads(json.dumps(settings, default=repr))
    return values


def encoded(settings: Mapping[str, Any], device: torch.device) -> Tensor:
    """Settings as character codes, float32 `[L]`."""
    text = json.dumps(settings, default=repr, separators=(",", ":"))
    return torch.tensor(list(text.encode("ascii")), dtype=torch.float32, device="cpu").to(device)


def settings_of(state: object) -> dict[str, Any]:
    """The settings that a state was made with; ValueError if they are missing or cannot be read."""
    saved = state.get(SETTINGS) if isinstance(state, Mapping) else None
    settings = saved.get("settings") if isinstance(saved, dict) else None
    if isinstance(saved, Tensor):
        codes = saved.detach().cpu().double().flatten()
        whole = codes.round()
        if not bool(((codes - whole).abs() <= ROUNDING).all()) or not bool(((whole >= 0) & (whole < 128)).all()):
            raise ValueError(
                "Expected the settings of a re-weighting but they cannot be read: the state is damaged, or an average "
                "of states that were made with different settings."
            )
        try:
            settings = json.loads(bytes(whole.to(torch.uint8).tolist()))
        except ValueError as error:
            raise ValueError(
                "Expected the settings of a re-weighting but they cannot be read: it is damaged."
            ) from error
    if not isinstance(settings, dict):
        raise ValueError("Expected the state of a re-weighting but its settings are missing.")
    return as_saved(settings)


def refuse_other_settings(saved: dict[str, Any], own: dict[str, Any]) -> None:
    """Raises ValueError, naming every setting in which a saved state differs from this run."""
    differing = [key for key in sorted({*saved, *own}) if saved.get(key) != own.get(key)]
    if differing:
        parts = [f"{key}: saved {shortened(saved.get(key))}, here {shortened(own.get(key))}" for key in differing]
        raise ValueError(
            f"Expected a state of the same re-weighting but it differs in {'; '.join(parts)}. "
            "Use the settings that it was made with, or start in a new folder."
        )


def read_state(state: Mapping[str, Any], num_classes: int) -> SavedState:
    """Reads what `state_dict` or `plain_state` gave, or an average or cast of the former; ValueError if damaged."""
    settings, extra = settings_of(state), state[SETTINGS]
    exact = isinstance(extra, dict)
    single, double = (torch.float32, torch.float64) if exact else (None, None)
    weights = _floats(state, "weights", num_classes, single)
    if not bool((weights > 0).all()):
        raise ValueError("Expected a state whose weights are positive but it is damaged.")
    log_radius = _floats(state, "log_radius64", num_classes, double)
    draws = _entry(state, "draws", num_classes, double)
    kind = torch.finfo(draws.dtype)
    draws = _floats({"draws": draws if exact else draws.double().clamp(max=kind.max)}, "draws", num_classes)
    if exact:
        substituted = _entry(state, "substituted", num_classes, torch.bool)
        epoch, has_radii = extra.get("epoch"), extra.get("has_radii")
        if type(epoch) is not int or type(has_radii) is not bool or epoch < 0:
            raise ValueError(f"Expected a state with epoch and has_radii but got {shortened(extra)}.")
    else:
        substitution = _floats(state, "substitution", num_classes)
        progress = _floats(state, "progress", len(progress_of(0, False))).tolist()
        if min(progress) < 0:
            raise ValueError(f"Expected a state with epoch and has_radii but got {shortened(progress)}.")
        epoch, share = epoch_of(progress), progress[1]
        has_radii = share > 0
        log_radius = log_radius / share if 0 < share < 1 else log_radius
        substituted = substitution >= 0.5 * (share if has_radii else 1.0)
    return SavedState(settings, epoch, has_radii, weights, log_radius, substituted, draws, kind.eps, kind.max)


def _floats(state: Mapping[str, Any], name: str, size: int, dtype: torch.dtype | None = None) -> Tensor:
    """A finite entry `[size]`, float64 on the CPU."""
    saved = _entry(state, name, size, dtype).double()
    if not bool(saved.isfinite().all()):
        raise ValueError(f"Expected a state whose {name} is finite but it is damaged.")
    return saved


def _entry(state: Mapping[str, Any], name: str, size: int, dtype: torch.dtype | None) -> Tensor:
    saved = state.get(name)
    if (
        isinstance(saved, Tensor)
        and saved.shape == (size,)
        and (saved.dtype == dtype if dtype else saved.is_floating_point())
    ):
        return saved.detach().cpu()
    raise ValueError(
        f"Expected a state whose {name} is {dtype or 'floating point'} [{size}] but it is "
        f"{'damaged' if name in state else 'missing'}."
    )
