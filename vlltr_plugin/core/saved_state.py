"""The state of a weighting as floating point tensors only, for code that expects tensors in a state dict.

It survives averages of states (EMA, SWA, "model soup"), a cast to half and other file formats: settings are the
character codes of a JSON text, rounded on reading (at most 126, exact in bfloat16 too); booleans are 0 and 1.
Integer tensors would not work: 0.9998 * 97 + 0.0002 * 97 = 96.99999 becomes 96.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vlltr_plugin.core.arguments import shortened
from vlltr_plugin.core.torch_context import float64_device, outside_inference_mode, unshare

SETTINGS = "_extra_state"
ENTRIES = ("weights", "log_radius64", "substitution", "draws", "progress", SETTINGS)

DIGIT = 256  # base of the digits of the epoch: whole numbers up to it are exact in bfloat16
DRAWS_TOLERANCE = 1e-5  # relative tolerance on the shares of the draws in a saved state
ROUNDING = 0.1  # how far a character code may be from a whole number; averages of equal codes are much closer


class WeightingState(nn.Module):
    """The state of a weighting: how it is saved, loaded, copied and moved."""

    weights: Tensor
    margins: Tensor
    substitution: Tensor
    log_radius64: Tensor
    progress: Tensor
    class_counts: Tensor
    draws: Tensor
    num_classes: int
    # The arguments class_counts and draws, float64 on the CPU. No buffers: a loader or a cast may write over those.
    _declared: dict[str, Tensor]
    epoch: int
    has_radii: bool

    def settings(self) -> dict[str, Any]:
        """Settings that must agree between a run and a state that it loads, as Python values."""
        raise NotImplementedError

    def update_margins(self) -> None:
        """Sets `margins` to what follows from the radii."""
        raise NotImplementedError

    @property
    def device64(self) -> torch.device:
        """Device of float64 state and statistics: that of the weights, or the CPU if it has no float64."""
        return self.log_radius64.device

    @property
    def substituted(self) -> Tensor:
        """Classes that were given the mean radius of the others, bool `[C]`; can be set."""
        return self.substitution >= 0.5

    @substituted.setter
    def substituted(self, classes: Tensor) -> None:
        self.substitution.copy_(classes)

    def _go_on(self, epoch: int, has_radii: bool) -> None:
        """Sets the epoch, both as Python values (read without waiting for a GPU) and as a tensor of the state."""
        self.epoch, self.has_radii = epoch, has_radii
        self.progress.copy_(self.progress.new_tensor(progress_of(epoch, has_radii)))

    def _forget_samples(self) -> None:
        """Drops the samples behind the radii, which others replace; a buffer of a subclass was loaded with these."""
        vars(self).pop("samples", None)

    @outside_inference_mode
    def _undo_cast(self) -> None:
        """Restores the precision of the buffers if FSDP's mixed precision has cast them; it does not call `_apply`.

        Counts, draws and what follows from them are exact again; measured radii and their weights stay rounded.
        """
        if self.log_radius64.dtype == torch.float64:
            return
        self.weights.data = self.weights.float()
        device = float64_device(self.weights.device)
        for name in ("log_radius64", "substitution", "progress", "margins", *self._declared):
            buffer = getattr(self, name)
            buffer.data = self._declared.get(name, buffer).to(device, torch.float64, copy=True)
        self.update_margins()

    def _read_progress(self) -> None:
        """Updates the Python values from the tensor, which DDP, an average or a loader may have written."""
        self._undo_cast()
        progress = self.progress.tolist()
        self.epoch, self.has_radii = epoch_of(progress), progress[1] > 0

    def get_extra_state(self) -> Tensor:
        """The settings as character codes, float32 `[L]`."""
        text = json.dumps(self.settings(), default=repr, separators=(",", ":"))
        codes = torch.tensor(list(text.encode("ascii")), dtype=torch.float32, device="cpu")
        return codes.to(self.weights.device)

    @outside_inference_mode
    def set_extra_state(self, state: Any) -> None:
        """Continues from a state that was checked and whose tensors are loaded."""
        self._read_progress()
        self._forget_samples()

    def plain_state(self) -> dict[str, Any]:
        """The state with settings, epoch and booleans as Python values, for a checkpoint that nothing averages.

        Returns:
            Tensors on the CPU and Python values, safe to load; `load_state_dict` takes it as well. Buffers of a
            subclass, of any dtype, are among them.
        """
        state = {name: value for name, value in self.state_dict().items() if name not in ENTRIES}
        state |= {name: getattr(self, name) for name in ("weights", "log_radius64", "substituted", "draws")}
        kept = {name: value.cpu().clone() if isinstance(value, Tensor) else value for name, value in state.items()}
        return kept | {SETTINGS: {"epoch": self.epoch, "has_radii": self.has_radii, "settings": self.settings()}}

    def check_state(self, state: Any) -> SavedState:
        """Reads a state or an average of states; ValueError if it is damaged or has other settings."""
        refuse_other_settings(settings_of(state), as_saved(self.settings()))
        saved = read_state(state, self.num_classes)
        own = self._declared["draws"].clamp(max=saved.largest)
        own_share, share = (draws / draws.sum() for draws in (own, saved.draws))
        if not torch.allclose(share, own_share, rtol=max(DRAWS_TOLERANCE, 2 * saved.precision), atol=0.0):
            raise ValueError(
                "Expected a state made under the same expected draws but they differ: resume with the sampler that it "
                "was made with, or start in a new folder."
            )
        return saved

    @outside_inference_mode
    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        own = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
        self._undo_cast()
        if not own.keys().isdisjoint(ENTRIES):  # if the state lacks all of them, torch reports the missing keys
            saved = self.check_state(own)
            tensors = {
                "weights": saved.weights.float(),
                "log_radius64": saved.log_radius,
                "substitution": saved.substituted.double(),
                "progress": torch.tensor(progress_of(saved.epoch, saved.has_radii), dtype=torch.float64, device="cpu"),
                "draws": self._declared["draws"],
                SETTINGS: self.get_extra_state(),
            }
            placed = {name: value.to(getattr(self, name, value).device, copy=True) for name, value in tensors.items()}
            own = {name: value for name, value in own.items() if name != "substituted"} | placed
            state_dict = {prefix + name: value for name, value in own.items()}
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.update_margins()

    def move_to(self, device: torch.device) -> None:
        """Moves to the device of the logits, once; not to the meta device, which holds no numbers."""
        self._undo_cast()
        if self.weights.device != device and device.type != "meta":
            self.to(device)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        unshare(self._buffers)
        unshare(vars(self))

    @outside_inference_mode
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> WeightingState:
        """Moves to another device; keeps the precision of the numbers when a model is cast to half."""
        device = fn(torch.zeros((), dtype=torch.float32, device=self.weights.device)).device
        device64 = float64_device(device)
        super()._apply(lambda tensor: tensor.to(device64 if tensor.dtype == torch.float64 else device), recurse)  # type: ignore[no-untyped-call]
        return self


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
    precision: float  # relative rounding error of the dtype that the draws were saved in
    largest: float  # maximum of that dtype; larger draws are saved as infinite (more than 65504 in half precision)


def progress_of(epoch: int, has_radii: bool) -> list[float]:
    """The lowest digit of the epoch, `has_radii`, the next digit, and the rest: exact in half, and open to averages."""
    rest, lowest = divmod(epoch, DIGIT)
    rest, middle = divmod(rest, DIGIT)
    return [float(lowest), float(has_radii), float(middle), float(rest)]


def epoch_of(progress: list[float]) -> int:
    """The epoch in a result of `progress_of`, or in a mean of such lists, rounded."""
    lowest, _, middle, rest = progress
    return round(lowest + DIGIT * (middle + DIGIT * rest))


def as_saved(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come back from JSON: tuples as lists, unknown types as text."""
    values: dict[str, Any] = json.loads(json.dumps(settings, default=repr))
    return values


def settings_of(state: object) -> dict[str, Any]:
    """The settings stored in a state; ValueError if they are missing or cannot be read."""
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
    """Reads a result of `state_dict` or `plain_state`, or an average or cast of the former; ValueError if damaged."""
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
