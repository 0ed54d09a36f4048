"""Identifies the model output that a criterion was called with."""

import weakref
from collections import OrderedDict
from types import MethodType
from typing import Any

from torch import Tensor, nn

from vlltr_plugin.training.settings import SINGLE

VISUAL, IMAGE_TEXT = "visual", "image_text"
BRANCHES = (IMAGE_TEXT, VISUAL, "sum", "each")
"""The logits that can feed the statistics, the default first."""


class OutputWatch:
    """A forward hook on the outermost model that keeps weak references to the outputs of the last forward.

    The host calls its criterion once for each branch; the identity of the logits tensor tells which branch it is.
    Weak references keep no graph alive. Copies and pickles of the model (an EMA, `torch.save(model)`) do not include
    the hook.
    """

    def __init__(self, model: nn.Module, two_branch: bool) -> None:
        self.names = (VISUAL, IMAGE_TEXT) if two_branch else (SINGLE,)
        self._outputs: list[weakref.ref[Tensor]] = []
        model.register_forward_hook(self._remember)
        model.__getstate__ = MethodType(_state_without_watch, model)  # type: ignore[method-assign]

    def branch_of(self, logits: Tensor) -> str:
        """Name of the branch that `logits` belongs to; ValueError if it is not an output of the last forward."""
        for name, output in zip(self.names, self._outputs, strict=False):  # none yet before a forward
            if output() is logits:
                return name
        raise ValueError(
            "Expected the criterion to be called with an output of the model's last forward but got another tensor: "
            "pass the model's outputs to the criterion as they come."
        )

    def output(self, name: str) -> Tensor:
        """The output of that branch in the last forward; ValueError if the host no longer holds it."""
        tensor = self._outputs[self.names.index(name)]()
        if tensor is None:
            raise ValueError(
                f"Expected the host to hold the {name} logits until the criterion has run on both branches."
            )
        return tensor

    def _remember(self, module: nn.Module, inputs: Any, output: Any) -> None:
        outputs = [output] if isinstance(output, Tensor) else list(output)
        if len(outputs) != len(self.names) or not all(isinstance(tensor, Tensor) for tensor in outputs):
            raise ValueError(
                f"Expected the model to return {len(self.names)} tensor(s) ({', '.join(self.names)} logits) but got "
                f"{len(outputs)}: make `two_branch` in the config agree with the model."
            )
        if len({id(tensor) for tensor in outputs}) < len(outputs):
            raise ValueError("Expected two tensors from the two branches but got the same one twice.")
        self._outputs = [weakref.ref(tensor) for tensor in outputs]

    def __getstate__(self) -> dict[str, Any]:
        """Drops the outputs: weak references cannot be pickled."""
        return {**vars(self), "_outputs": []}


def _state_without_watch(model: nn.Module) -> dict[str, Any]:
    of_class = getattr(type(model), "__getstate__", None)  # DDP has one
    state = dict(vars(model) if of_class is None else of_class(model))
    del state["__getstate__"]
    hooks = state["_forward_hooks"].items()
    state["_forward_hooks"] = OrderedDict(
        (key, hook) for key, hook in hooks if not isinstance(getattr(hook, "__self__", None), OutputWatch)
    )
    return state
