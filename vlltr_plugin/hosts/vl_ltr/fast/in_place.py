"""Helpers for head and tower: replace a module's `forward` in place, and cache values until tensors change."""

import copy
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


def expect(option: str, what: str, holds: bool, came: str) -> None:
    """Raises ValueError for a model that `fast_head` or `fast_tower` does not fit."""
    if not holds:
        raise ValueError(f"Expected {what} with {option}=True but got {came}: take {option} out of the config.")


def replace_forward(module: nn.Module, forward: Callable[..., Any], **extras: Any) -> None:
    """Makes a module compute with `forward(module, ...)`, in place.

    Its class, parameters and state dict do not change. A deep copy computes with `forward` and its own parameters. A
    pickle (`torch.save(model)`), a shallow copy, and the replicas of `torch.nn.DataParallel` hold the original
    module, so a saved model loads without this package.
    """
    ours: dict[str, Callable[..., Any]] = {"forward": forward, "__getstate__": _plain_state, "__deepcopy__": _deep_copy}
    ours["_replicate_for_data_parallel"] = _plain_replica
    for name, function in ours.items():
        setattr(module, name, MethodType(function, module))
    for name, value in extras.items():
        setattr(module, name, value)
    module._put_in_place = (*ours, *extras, "_put_in_place")  # type: ignore[assignment]


def _plain_state(module: Any) -> dict[str, Any]:
    of_class = getattr(type(module), "__getstate__", None)
    state = vars(module) if of_class is None else of_class(module)
    return {name: value for name, value in state.items() if name not in module._put_in_place}


def _deep_copy(module: Any, memo: dict[int, Any]) -> Any:
    kind: Any = type(module)
    copied = kind.__new__(kind)
    memo[id(module)] = copied
    vars(copied).update({name: copy.deepcopy(value, memo) for name, value in vars(module).items()})
    return copied


def _plain_replica(module: Any) -> Any:
    replica = type(module)._replicate_for_data_parallel(module)
    for name in module._put_in_place:
        del vars(replica)[name]
    return replica


class Cache(Generic[T]):
    """Values computed from tensors, by key; recomputed if the tensors have changed.

    Tensors are compared by storage and version. Every in-place write counts as a change (`copy_`, `load_state_dict`,
    the broadcast when DDP is built), and so does new storage (`tensor.data = ...`, a move to another device). Writes
    that do not change the version are not noticed: `tensor.data.copy_(...)`, and buffers that DDP sends at each step.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[int, torch.Size, int]] = []
        self._held: list[Tensor] = []  # keeps the storage from being reused by another tensor
        self.values: dict[Any, T] = {}

    def get(self, tensors: Sequence[Tensor], key: Any, compute: Callable[[], T]) -> T:
        """The value of a key for the tensors as they are now."""
        now = [(tensor.data_ptr(), tensor.shape, tensor._version) for tensor in tensors]
        if now != self._seen:
            self.values.clear()
            self._seen, self._held = now, [tensor.detach() for tensor in tensors]
        if key not in self.values:
            with (
                torch.inference_mode(False),
                torch.no_grad(),
            ):  # tensors made in inference mode cannot be used in training
                self.values[key] = compute()
        return self.values[key]
