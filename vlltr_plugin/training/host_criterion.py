"""HostCriterion replaces a host's base criterion: it observes a batch, then weights losses or adjusts logits."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from vlltr_plugin.core.batch import widened
from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.frequency import Uniform
from vlltr_plugin.core.torch_context import observing
from vlltr_plugin.training.messages import info
from vlltr_plugin.training.settings import SINGLE, SUM

TOLERANCE = 1e-4  # relative tolerance between a host's own loss and the one that replaces it
ADVICE = (
    "Something after the sampler (the data set, a collate function) draws or relabels samples, so the class weights "
    "do not fit the training samples."
)


class Watch(Protocol):
    """Identifies the model output that the host passes to its criterion."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs, in the order in which the host passes them to the criterion."""

    def branch_of(self, logits: Tensor) -> str:
        """Name of the output to which `logits` belong."""

    def output(self, name: str) -> Tensor:
        """The last output with this name."""


class HostCriterion(nn.Module):
    """Replaces the host's base criterion.

    While all weights are 1, it calls the host's own criterion, so a re-weighted run is bit-identical to the baseline
    until a weight differs from 1.

    Args:
        base: the host's criterion, called as `base(logits, targets)`.
        criteria: keyed by the logits that feed them: an output of the model, or the outputs' `"sum"`. The first one
            also handles outputs without a criterion of their own.
        watch: names of the model's outputs; by default the model has one.
        observes: True to collect the statistics in the training pass; False to count the draws only.
        adjusts: True if the criteria apply from the first step on, as margins do.
    """

    def __init__(
        self,
        base: nn.Module,
        criteria: Mapping[str, Criterion],
        watch: Watch | None = None,
        observes: bool = True,
        adjusts: bool = False,
    ) -> None:
        super().__init__()
        self.base = base
        self.criteria: Mapping[str, Criterion] = nn.ModuleDict(criteria)  # type: ignore[assignment]
        self._watch, self._observes, self._adjusts = watch, observes, adjusts
        self.streams = observes and any(criterion.weighting.uses_logits for criterion in criteria.values())
        """True if the statistics of a weighting that reads logits are collected in the training pass."""
        for number, criterion in enumerate(criteria.values()):  # the first criterion counts the draws for all
            criterion.run_by_host(_warn, "" if number or isinstance(criterion.weighting, Uniform) else ADVICE)

    def forward(self, outputs: Tensor, targets: Tensor, *more: Any, **named: Any) -> Tensor:
        """The loss of one branch: logits `[B, C]`, targets int64 `[B]` or float `[B, C]`, to a scalar."""
        if more or named:
            further = " and ".join([f"{len(more)} argument(s)"] * bool(more) + [f"`{name}`" for name in named])
            raise ValueError(
                f"Expected base_criterion(logits, targets) but the host passes {further} more, whose effect on the "
                "loss cannot be re-weighted. Take `reweight` out of the config, or the argument out of the call."
            )
        branch = SINGLE if self._watch is None else self._watch.branch_of(outputs)
        batch = None
        if observing(self):
            if branch in self.criteria:
                batch = self.criteria[branch].observe_in_host(outputs, targets, self._observes)
            if self._watch is not None and SUM in self.criteria and branch == self._watch.names[-1]:
                first, *others = (widened(self._watch.output(name).detach()) for name in self._watch.names)
                self.criteria[SUM].observe_in_host(sum(others, first), targets, self._observes)
        criterion = self.criteria[branch if branch in self.criteria else next(iter(self.criteria))]
        if self._adjusts or criterion.weighting.active:
            return criterion.losses_of(batch or criterion.batch(outputs, targets)).mean()
        loss: Tensor = self.base(outputs, targets)
        return loss


def _warn(message: str) -> None:
    info(f"warning: {message} This warning is shown once.")
