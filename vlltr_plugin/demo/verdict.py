"""A short summary of the demo's runs, with the standard errors of their differences: the test split is small."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vlltr_plugin.core.shot_groups import GROUPS, UPSTREAM
from vlltr_plugin.hosts.host import Metric
from vlltr_plugin.hosts.vl_ltr.host import GROUP_METRICS, OVERALL
from vlltr_plugin.report.compare import Comparison, compare
from vlltr_plugin.report.inspect import Inspection

from .digits import CLASSES, TEST, long_tailed_counts
from .standin_checkout import LogLine

MANY, FEW = GROUP_METRICS[0], GROUP_METRICS[2]
NO_WEIGHTS = (
    "Inverse frequency and class volume trained like the baseline. Their weights apply from the second epoch on, once "
    "the first has been measured: train 2 epochs or more."
)
METRICS = (OVERALL, *GROUP_METRICS[: len(GROUPS)])


def verdict(
    comparison: Comparison,
    logs: Sequence[list[LogLine]],
    weights: Inspection,
    after: Mapping[str, float | None] | None = None,
) -> list[str]:
    """What re-weighting did; the baseline adjusted after training; how much is the volume; how class volume started.

    `comparison` has baseline, inverse frequency, class volume and its adjusted form; `logs` are of the first three;
    `after` is the row of the baseline's trade-off curve at the tau chosen on validation images, if it was evaluated.
    """
    adjusted = [] if after is None else [_after_training(comparison, after)]
    if any(line["train_reweight_alpha_max"] > 1 for line in logs[2] if "epoch" in line):
        lines = [_effect(comparison), *adjusted, _volume(comparison, weights), _start(*logs)]
    else:
        lines = [NO_WEIGHTS, *adjusted]
    return [f"{number}. {line}" for number, line in enumerate(lines, 1)]


def _effect(comparison: Comparison) -> str:
    def percent(metric: Metric) -> str:
        return ", ".join(f"{_test(comparison, number, metric):.0f} %" for number in range(4))

    return (
        "Re-weighting moves accuracy from frequent to rare classes. Accuracy of baseline, inverse frequency, class "
        f"volume, and class volume as margins: {percent(FEW)} of the rare digits (few-shot); {percent(MANY)} of the "
        f"frequent ones (many-shot); {percent(OVERALL)} of all."
    )


def _after_training(comparison: Comparison, after: Mapping[str, float | None]) -> str:
    plain = [after[name] or 0.0 for name in (FEW.name, MANY.name, "top1")]
    margins = [_test(comparison, 3, metric) for metric in (FEW, MANY, OVERALL)]
    plainly, others = (", ".join(f"{value:.2f} %" for value in values) for values in (plain, margins))
    return (
        "Adjusting the baseline after training needs no other run: its logits minus tau times the log of each class's "
        f"draws (tau {after['tau']:g}, chosen on validation) give {plainly} (few-shot, many-shot, all). Class volume "
        f"as margins gives {others}."
    )


def _volume(comparison: Comparison, weights: Inspection) -> str:
    pair = compare(comparison.methods[1:3])
    errors = standard_errors(pair)
    differences = {metric: _test(comparison, 2, metric) - _test(comparison, 1, metric) for metric in (OVERALL, FEW)}
    beyond = any(abs(value) > 2 * errors[metric.title] for metric, value in differences.items())
    share = weights.parts.share
    closer = " (below 0: they bring the weights closer together)" if round(100 * share) < 0 else ""
    return (
        f"The volume's own part is class volume minus inverse frequency: {differences[OVERALL]:+.1f} points over "
        f"all, {differences[FEW]:+.1f} few-shot, {'more' if beyond else 'no more'} than two standard errors of the "
        f"choice of test images ({2 * errors[OVERALL.title]:.1f} and {2 * errors[FEW.title]:.1f}). The radii explain "
        f"{round(100 * share)} % of the spread of log alpha{closer}, the class counts the rest."
    )


def _start(baseline: list[LogLine], inverse: list[LogLine], class_volume: list[LogLine]) -> str:
    lines = {line["epoch"]: line for line in class_volume if "epoch" in line}
    others = [{line["epoch"]: line["test_acc1"] for line in log if "epoch" in line} for log in (baseline, inverse)]
    first = min(epoch for epoch, line in lines.items() if line["train_reweight_alpha_max"] > 1)
    line, last = lines[first], max(lines)
    plain, counted = (other.get(first, math.nan) for other in others)
    low = line["test_acc1"] < plain
    return (
        f"Class volume {'starts low here' if low else 'can start low, though not here'}: after epoch {first}, its "
        f"first weighted one, it has {line['test_acc1']:.0f} % on validation, inverse frequency {counted:.0f} %, the "
        f"baseline {plain:.0f} %. Weights are 1 until the radii have been measured, then go to "
        f"{line['train_reweight_alpha_min']:.2f} to {line['train_reweight_alpha_max']:.2f} at once, and a network that "
        f"has learned little yet has to turn to the rare classes. After the last epoch: {lines[last]['test_acc1']:.0f} "
        f"%, the baseline {others[0].get(last, math.nan):.0f} %."
    )


def _test(comparison: Comparison, number: int, metric: Metric) -> float:
    summary = comparison.summary(comparison.methods[number].name, "test", metric)
    return math.nan if summary is None else summary.mean


def standard_errors(comparison: Comparison) -> dict[str, float]:
    """Binomial standard error of the test difference of two runs of the demo, in points, by the metric's title.

    It covers the choice of the test images; the scatter between runs comes on top. The two runs see the same images,
    which is left out, so it is on the large side.

    Between the first and the last run, baseline and class volume; RuntimeError where one has no final test.
    """
    groups = UPSTREAM.group(long_tailed_counts())
    errors = {}
    for metric in METRICS:
        shares = [_test(comparison, number, metric) / 100.0 for number in (0, -1)]
        if any(map(math.isnan, shares)):
            raise RuntimeError("Expected both runs to log a final test, but one did not: please report this")
        images = TEST * (CLASSES if metric is OVERALL else int((groups == metric.name).sum()))
        errors[metric.title] = 100.0 * math.sqrt(sum(p * (1.0 - p) for p in shares) / images)
    return errors
