"""The numbers that are compared: the host's, and those that only an evaluation has."""

from __future__ import annotations

from vlltr_plugin.hosts.host import Host, Metric

EVALUATED = (
    Metric("macro", "eval_macro_top1", "mean over classes"),
    Metric("harmonic", "eval_harmonic_top1", "harmonic mean"),
    Metric("ece", "eval_ece", "calibration error"),
)
"""Of an `evaluation.json`, by the keys that `evaluation_runs` gives them; less is better for `ece`."""

TRAINING_LOSS = "The training loss of a re-weighted run is weighted, so it says nothing beside another run's."


def metrics_of(host: Host) -> tuple[Metric, ...]:
    """All numbers of a host's runs and their evaluations: accuracies, those of an evaluation alone, losses."""
    own = {metric.name for metric in host.metrics}
    return (
        *(metric for metric in host.metrics if metric.percent),
        *(metric for metric in EVALUATED if metric.name not in own),
        *(metric for metric in host.metrics if not metric.percent),
    )
