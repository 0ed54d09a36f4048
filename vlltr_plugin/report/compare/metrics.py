"""The numbers of a log line that are compared: their names here, in the host's log, and in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One number of a line.

    Attributes:
        name: its name in our reports.
        key: its key in the host's log.
        title: its name in words.
        percent: whether it is in percent; else it is a loss.
    """

    name: str
    key: str
    title: str
    percent: bool = True


OVERALL = Metric("overall", "test_acc1", "overall top-1")
GROUP_METRICS = (
    Metric("many", "test_many", "many-shot"),
    Metric("medium", "test_median", "medium-shot"),
    Metric("few", "test_low", "few-shot"),
    Metric("10-shot", "test_10-shot", "10-shot"),
    Metric("5-shot", "test_5-shot", "5-shot"),
)
"""Top-1 accuracy of the classes with so many training images; the last two are parts of few-shot."""

METRICS = (
    OVERALL,
    Metric("overall_top5", "test_acc5", "overall top-5"),
    Metric("visual", "test_acc0_1", "visual top-1"),
    Metric("visual_top5", "test_acc0_5", "visual top-5"),
    Metric("image_text", "test_acc1_1", "image-text top-1"),
    Metric("image_text_top5", "test_acc1_5", "image-text top-5"),
    *GROUP_METRICS,
    Metric("macro", "eval_macro_top1", "mean over classes"),
    Metric("harmonic", "eval_harmonic_top1", "harmonic mean"),
    Metric("ece", "eval_ece", "calibration error"),
    Metric("loss", "test_loss", "loss", percent=False),
    Metric("train_loss", "train_loss", "training loss", percent=False),
)

"""All; those with `eval_` keys are not in a log but in an evaluation, and less is better for `ece` and the losses."""

TRAINING_LOSS = "The training loss of a re-weighted run is weighted, so it says nothing beside another run's."
EMPTY_GROUPS = (
    "0.0 in every line of every run, shown as -: {groups}. Upstream writes that for groups without test images (or "
    "none of their images was ever right)."
)
