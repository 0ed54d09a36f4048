"""Notices that tensors have changed since something was computed from them."""

from collections.abc import Sequence

from torch import Tensor


class Snapshot:
    """Remembers tensors by storage and version.

    Every in-place write counts as a change (`copy_`, `load_state_dict`, what DDP sends when it is built), and so does
    other storage (`tensor.data = ...`, a move to another device). Writes that torch hides from the version go
    unnoticed: `tensor.data.copy_(...)`, and the buffers that DDP sends at each step.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._views = [tensor.detach() for tensor in tensors]
        self._versions = [tensor._version for tensor in tensors]

    def is_current(self, tensors: Sequence[Tensor]) -> bool:
        """Whether `tensors` are the remembered ones, and not written to since."""
        return len(tensors) == len(self._views) and all(
            tensor.data_ptr() == view.data_ptr() and tensor.shape == view.shape and tensor._version == version
            for tensor, view, version in zip(tensors, self._views, self._versions, strict=True)
        )
