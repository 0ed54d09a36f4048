"""What takes the place of a host's base criterion."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from vlltr_plugin.core.batch import widened
from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.draws import DrawCounter
from vlltr_plugin.core.loop_checks import LoopChecks
from vlltr_plugin.core.torch_context import observing
from vlltr_plugin.training.messages import warnings_said

TOLERANCE = 1e-4
"""Relative: what a host's own loss may differ by from the one that takes its place."""


class Watch(Protocol):
    """Tells which of the model's outputs the host has called its criterion with."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs, in the order in which the host's criterion gets them."""

    def branch_of(self, logits: Tensor) -> str:
        """Name of the output that `logits` are."""

    def output(self, name: str) -> Tensor:
        """The last output of a name."""


class HostCriterion(nn.Module):
    """Takes the place of the host's base criterion: observes, then weights or adjusts.

    While the weights are all 1 it calls the host's own criterion, so that a re-weighted run is bit-identical to the
    baseline until they differ. Logits are adjusted from the first step on.
    """

    def __init__(
        self,
        base: nn.Module,
        watch: Watch,
        losses: Mapping[str, Criterion],
        streams: Mapping[str, Criterion],
        num_classes: int,
        adjusts: bool = False,
    ) -> None:
        super().__init__()
        self.base = base
        self.losses = nn.ModuleDict(losses)
        self._watch, self._streams, self._adjusts = watch, streams, adjusts
        self._draws = DrawCounter(num_classes)
        self._expected = LoopChecks(next(iter(losses.values())).weighting)

    def forward(self, outputs: Tensor, targets: Tensor, *more: Any, **named: Any) -> Tensor:
        """The loss of one branch: logits `[B, C]`, targets int64 `[B]` or float `[B, C]`, to a scalar.

        Raises:
            ValueError: for further arguments, whose part in the loss is unknown, and for batches that do not fit.
        """
        if more or named:
            raise ValueError(
                f"Expected base_criterion(logits, targets) but the host gives it {_further(len(more), named)} more: "
                "what that does to the loss cannot be re-weighted. Take `reweight` out of the config, or the argument "
                "out of the call."
            )
        branch = self._watch.branch_of(outputs)
        loss: Criterion = self.losses[branch]  # type: ignore[assignment]
        if observing(self):
            if self.streams:
                with warnings_said():
                    self._expected.see_logits(outputs)
            if not self._streams:  # nothing else looks at the targets in an epoch whose weights are 1
                loss.check(outputs, targets)
            self._observe(branch, outputs, targets)
            if branch == self._watch.names[-1]:
                loss.weighting.move_to(outputs.device)
                self._draws.add(loss.batch(outputs, targets).to(loss.weighting.device64))
        if not (self._adjusts or loss.weighting.active):
            base: Tensor = self.base(outputs, targets)
            return base
        return loss.losses(outputs, targets).mean()

    @property
    def streams(self) -> bool:
        """Whether the statistics stream from the training pass, of a weighting that reads logits."""
        return any(stream.weighting.uses_logits for stream in self._streams.values())

    @property
    def drawn(self) -> Tensor:
        """How many samples of each class came since `take_drawn` (mixed ones by mass), float64 `[C]`."""
        return self._draws.drawn

    def take_drawn(self) -> Tensor:
        """As `drawn`, which starts anew."""
        return self._draws.take()

    def _observe(self, branch: str, outputs: Tensor, targets: Tensor) -> None:
        if branch in self._streams:
            _feed(self._streams[branch], outputs, targets)
        if branch == self._watch.names[-1] and "sum" in self._streams:
            both = [widened(self._watch.output(name).detach()) for name in self._watch.names]
            _feed(self._streams["sum"], both[0] + both[1], targets)


def _feed(stream: Criterion, outputs: Tensor, targets: Tensor) -> None:
    """The statistics alone: what is drawn is counted once, whatever the number of streams."""
    stream.check(outputs, targets)
    stream.weighting.observe(outputs, targets, stream.smoothing)


def _further(unnamed: int, named: Mapping[str, Any]) -> str:
    return " and ".join([f"{unnamed} argument(s)"] * bool(unnamed) + [f"`{name}`" for name in named])
