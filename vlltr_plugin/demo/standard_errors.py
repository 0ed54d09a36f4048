"""How far the demo's differences may be chance: its test split is small, and only the demo knows how small."""

from __future__ import annotations

import math

from vlltr_plugin.core.shot_groups import GROUPS, UPSTREAM
from vlltr_plugin.hosts.host import Metric
from vlltr_plugin.hosts.vl_ltr.host import GROUP_METRICS, OVERALL
from vlltr_plugin.report.compare.comparison import Comparison

from .digits import CLASSES, TEST, long_tailed_counts

METRICS = (OVERALL, *GROUP_METRICS[: len(GROUPS)])


def standard_errors(comparison: Comparison) -> dict[str, float]:
    """Binomial standard error of the test difference of two runs of the demo, in points, by the metric's title.

    It covers the choice of the test images; the scatter between runs comes on top. The two runs see the same images,
    which is left out, so it is on the large side.

    Args:
        comparison: the first and the last run are meant, baseline and class volume; with final tests.

    Returns:
        For overall and the three groups.

    Raises:
        RuntimeError: a run has no final test.
    """
    return {metric.title: _standard_error(comparison, metric) for metric in METRICS}


def images_of(metric: Metric) -> int:
    """Test images of a group, or of all."""
    if metric is OVERALL:
        return CLASSES * TEST
    return TEST * int((UPSTREAM.group(long_tailed_counts()) == metric.name).sum())


def _standard_error(comparison: Comparison, metric: Metric) -> float:
    summaries = [comparison.summary(m.name, "test", metric) for m in (comparison.methods[0], comparison.methods[-1])]
    if None in summaries:
        raise RuntimeError("Expected both runs to log a final test, but one did not: please report this")
    shares = [summary.mean / 100.0 for summary in summaries if summary is not None]
    return 100.0 * math.sqrt(sum(p * (1.0 - p) for p in shares) / images_of(metric))
