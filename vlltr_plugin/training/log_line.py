"""The numbers of an epoch for a host's log line, which says null for what is not known."""

from torch import Tensor

from vlltr_plugin.core.epoch_statistics import NAMES
from vlltr_plugin.core.weighting import Weighting

Statistics = dict[str, float | int | None]


def summary(weighting: Weighting, in_force: Tensor, drawn: Tensor) -> Statistics:
    """The statistics of an epoch that has just ended, every name of `epoch_statistics.NAMES` among them."""
    known = weighting.statistics(in_force, drawn)
    return {name: known.get(name) for name in NAMES}
