"""What autograd tells of the passes that a criterion observes: which are trained on, and by which head."""

import torch
from torch import Tensor

LAYERS = 8
"""Autograd nodes from the logits back, at most, to the nearest parameters."""


class ObservedPasses:
    """The passes of an epoch, and for how many of their losses a backward pass ran.

    Attributes:
        samples: of all passes.
        untrained: of those whose loss had no backward pass so far.
    """

    def __init__(self) -> None:
        self.samples = self.untrained = 0
        self._waiting = self._together = self._most_together = 0

    def add(self, loss: Tensor, samples: int) -> None:
        """Adds a pass.

        Args:
            loss: that backward would run from.
            samples: of the pass.
        """
        self.samples += samples
        self.untrained += samples
        self._waiting += 1
        self._together = 0
        if loss.requires_grad:
            loss.register_hook(_Backward(self, samples))

    @property
    def last_one_waits(self) -> bool:
        """Whether no backward pass has run since the last pass was added."""
        return self.samples > 0 and self._together == 0

    def left_out(self) -> bool:
        """Whether more passes wait than the rest of a sum of losses, of which others were trained on together."""
        return self._waiting >= self._most_together > 0

    def trained(self, samples: int) -> None:
        """A backward pass has reached the loss of a pass."""
        self.untrained -= samples
        self._waiting -= 1
        self._together += 1
        self._most_together = max(self._most_together, self._together)


class _Backward:
    """The hook of one loss; further backward passes through it change nothing."""

    def __init__(self, passes: ObservedPasses, samples: int) -> None:
        self._passes, self._samples = passes, samples
        self._waits = True

    def __call__(self, gradient: Tensor) -> None:
        if self._waits:
            self._waits = False
            self._passes.trained(self._samples)


def nearest_parameters(logits: Tensor) -> frozenset[int]:
    """Identities of the parameters that the logits were computed with last; empty where autograd does not tell."""
    nodes = {logits.grad_fn}
    for _ in range(LAYERS):
        inputs = [function for node in nodes if node is not None for function, _ in node.next_functions]
        leaves = [getattr(node, "variable", None) for node in inputs]
        found = frozenset(id(leaf) for leaf in leaves if isinstance(leaf, torch.nn.Parameter))
        if found:
            return found
        nodes = set(inputs)
    return frozenset()
