"""What `counts` and `normalize` make of the class counts, and the memory that the statistics take."""

from pathlib import Path

import torch
from torch import Tensor

from vlltr_plugin.check.results import SkipError
from vlltr_plugin.core.class_volume import ClassVolume
from vlltr_plugin.core.normalization import expected_alpha
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.checks.planned import Planned


def look_at_weights(run: Planned) -> str:
    """Smallest and largest weight for equal radii (by frequency: the weights); whether they ever apply."""
    if run.plan is None:
        raise SkipError("nothing is re-weighted")
    weighting = run.plan.primary
    if not weighting.uses_logits and not weighting.has_radii:
        return "all 1"
    if never := run.plan.never_applies():
        raise ReportError(f"Expected weights that apply before the run ends, but {never}")
    radii = weighting.log_radius64
    every = weighting.weights_for(torch.zeros_like(radii) if weighting.uses_logits else radii)
    mean = expected_alpha(every, weighting.draws)
    present = weighting.class_counts > 0
    counts, alpha = weighting.class_counts[present], every[present]
    least, most = int(alpha.argmin()), int(alpha.argmax())
    form = "as margins from the first step, with radii " if run.plan.settings.adjusts else ""
    return (
        f"{'for equal radii ' if weighting.uses_logits else ''}from {alpha[least]:.3g} (a class of "
        f"{int(counts[least])} images) to {alpha[most]:.3g} (of {int(counts[most])}), {mean:.3g} on average over the "
        f"draws, {form}from epoch {weighting.start_epoch} on (counts={weighting.counts!r}, "
        f"normalize={weighting.normalize!r})"
    )


def look_at_memory(run: Planned) -> str:
    """Memory of the statistics on each rank against what is free on the device."""
    weightings = run.plan.weightings.values() if run.plan else ()
    volumes = [weighting for weighting in weightings if isinstance(weighting, ClassVolume)]
    if not volumes:
        raise SkipError("nothing is measured while training")
    state, merging = 0, 0
    for volume in volumes:
        moments = volume.empty_moments(torch.device("meta"))
        state += sum(value.nbytes for value in vars(moments).values() if isinstance(value, Tensor))
        merging = moments.pivot.nbytes  # one weighting after the other
    device = torch.device(run.args.device)
    free = free_memory(device)
    text = f"statistics of {in_bytes(state)} on each rank ({in_bytes(state + merging)} while ranks merge)"
    if free is not None and state + merging > free:
        raise ReportError(
            f"Expected room for {text} but {device} has {in_bytes(free)} free: take features=512 or "
            "less with variant='dv' or 'bv', fewer branches, or a larger device."
        )
    return text + (f", {in_bytes(free)} free on {device}" if free is not None else "")


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had; None where that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def in_bytes(number: float) -> str:
    """In the largest unit that fits, as `12.0 MB`."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
