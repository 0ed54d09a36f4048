"""A simulated device without float64, as Apple's MPS is: tensors that say they are on "lazy", kept on the CPU.

"lazy" is the one name that a CPU build of torch lets tensors move to. As the real device it refuses float64 in any
form, and operations on its tensors together with the CPU's.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("lazy", 0)
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class LazyTensor(Tensor):
    """A tensor of the simulated device."""

    kept: Tensor

    @staticmethod
    def __new__(cls, kept: Tensor) -> "LazyTensor":
        tensor = Tensor._make_wrapper_subclass(cls, kept.shape, kept.stride(), dtype=kept.dtype, device=DEVICE)
        tensor.kept = kept
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    def __repr__(self) -> str:
        return f"LazyTensor({self.kept})"


class SimulatedDevice(TorchDispatchMode):
    """While it is entered, `device="lazy"` names the simulated device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation, on whatever device its arguments say."""
    given = tree_flatten((args, kwargs))[0]
    there = any(isinstance(value, LazyTensor) for value in given)
    asked = kwargs.get("device")
    if not there and (asked is None or torch.device(asked).type != "lazy"):
        return func(*args, **kwargs)
    here = [v for v in given if isinstance(v, Tensor) and not isinstance(v, LazyTensor) and v.ndim > 0]
    if there and here and func not in COPIES:
        raise RuntimeError(f"Expected all tensors to be on the same device but {func} got lazy and cpu.")
    kept_args, kept_kwargs = tree_map(lambda v: v.kept if isinstance(v, LazyTensor) else v, (args, kwargs))
    if asked is not None:
        kept_kwargs["device"] = torch.device("cpu")
    result = func(*kept_args, **kept_kwargs)
    if func is torch.ops.aten.copy_.default or func._schema.name.endswith("_"):
        return args[0]
    if kwargs.get("out") is not None:
        return kwargs["out"]
    stays = torch.device(asked).type == "lazy" if asked is not None else there
    return tree_map(placed, result) if stays else result


def placed(value: Any) -> Any:
    """A result on the simulated device."""
    if not isinstance(value, Tensor):
        return value
    if value.dtype == torch.float64:
        raise TypeError("Cannot convert a tensor of this device to float64: it has none.")
    return LazyTensor(value)
