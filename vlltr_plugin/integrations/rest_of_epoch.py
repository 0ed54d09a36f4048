"""The end of an epoch whose beginning another process has seen: a run that goes on inside an epoch."""

import warnings

from vlltr_plugin.core.criterion import Criterion
from vlltr_plugin.core.epoch_statistics import Statistics
from vlltr_plugin.training.messages import say


def end_epoch(criterion: Criterion, epoch: int | None = None, rest: bool = False) -> Statistics:
    """`criterion.end_epoch`; of the rest of an epoch only, radii that are there already stay.

    Those of a whole epoch are better than those of its last batches, in which most classes have too few samples. Where
    there are none yet, the rest is measured.

    Args:
        criterion: on every rank.
        epoch: as in `Criterion.end_epoch`.
        rest: whether the beginning of the epoch was observed by another process.

    Returns:
        The epoch's numbers.
    """
    weighting = criterion.weighting
    if not (rest and weighting.uses_logits and weighting.has_radii):
        return criterion.end_epoch(epoch)
    ended = weighting.epoch if epoch is None else epoch
    say(f"of epoch {ended} only the rest was seen, since the run went on inside it: the radii of before stay.")
    weighting.forget_epoch()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No training batch was observed")
        return criterion.end_epoch(epoch)
