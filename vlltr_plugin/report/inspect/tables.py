"""Prints an inspection: tables, and findings in sentences."""

import math
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.hosts import host_of_run
from vlltr_plugin.report.inspect.inspection import Inspection, Names, inspect_run, label, ranges
from vlltr_plugin.report.inspect.pictures import write_pictures
from vlltr_plugin.report.inspect.size_relation import EQUAL, ROUNDING
from vlltr_plugin.report.labels import run_name
from vlltr_plugin.report.pictures import require_matplotlib
from vlltr_plugin.report.tables import MISSING, Table, plain_console
from vlltr_plugin.runs.epoch_files import epoch_files
from vlltr_plugin.training.settings import SINGLE

EXTREMES = 5
LISTED = 10
AGAINST = -0.005
"""Below this share of the variance of log alpha, the radii work against the counts; nearer 0 they have no effect."""


def print_inspection(inspection: Inspection, names: Names, console: Console) -> None:
    """Prints the groups, the classes with extreme radii, and the findings."""
    console.print(groups_table(inspection).rich())
    if inspection.measured:
        largest, smallest = inspection.extremes(EXTREMES)
        rows = [
            (
                *(label(names, index), inspection.group[index], inspection.counts[index]),
                *(f"{inspection.radii[index]:.3g}", f"{inspection.weights[index]:.3g}"),
            )
            for index in (*largest, *smallest[::-1])
        ]
        header = ("class", "group", "images", "radius", "weight")
        table = Table("Largest and smallest radius", header, tuple(rows), sections=(len(largest),))
        console.print(table.rich())
    for sentence in findings(inspection, names):
        console.print(f"- {escape(sentence)}", soft_wrap=True, highlight=False)


def groups_table(inspection: Inspection) -> Table:
    """One row per group: weights in force, measured radii, shares of the loss."""
    epochs, measured = inspection.series.epochs, inspection.measured
    named = "the" if inspection.logits == SINGLE else f"the {inspection.logits}"
    of_logits = f", radii from {named} logits" if measured else ", no volume measured"
    explained = "weight, radius: median of the group; subst.: given the mean radius of the others\n" if measured else ""
    columns = ("radius", "subst.") if measured else ()
    header = ("group", "classes", "images", "weight (range)", *columns, "% of weight")
    rows = []
    for group in inspection.summaries:
        cells = ["0", *[MISSING] * (len(header) - 2)]
        if group.images is not None and group.weights is not None:
            low, median, high = group.weights
            radius = (MISSING if group.radius is None else f"{group.radius:.3g}", str(group.substituted))
            cells = [
                str(group.classes),
                f"{group.images[0]}-{group.images[1]}",
                f"{median:.2g} ({low:.2g}-{high:.2g})",
                *(radius if measured else ()),
                f"{100 * group.share_of_draws:.0f} -> {100 * group.share_of_weight:.0f}",
            ]
        rows.append((f"{group.name} {inspection.groups.bounds(group.name)}", *cells))
    return Table(
        f"Epoch {inspection.epoch} of {epochs[0]} to {epochs[-1]}{of_logits}",
        header,
        tuple(rows),
        caption=f"{explained}% of weight: share of the total weight of an epoch, with all weights 1 -> with these",
    )


def findings(inspection: Inspection, names: Names) -> list[str]:
    """The findings, each in one or two sentences."""
    found = [
        f"Do rare classes have a larger volume? {_radius_and_size(inspection)}",
        f"Is the weight of a class just 1/n? {_weight_and_size(inspection)}",
    ]
    by_counts = min(inspection.weight_times_draws.whole, inspection.weight_times_images.whole) <= 1 + EQUAL
    if inspection.measured and not inspection.all_weights_one and not by_counts:
        found.append(f"How much of the weights comes from the volume? {_equal_radii(inspection, names)}")
    found.append(_substituted(inspection, names))
    relation = inspection.accuracy
    if relation is not None:
        answer = {-1: "Yes", 0: "No relation beyond chance", 1: "No, they are easier"}[relation.sign]
        found.append(
            f"Are classes with a larger radius harder? {answer}: rank correlation of radius and accuracy "
            f"{relation.at_equal_size:+.2f} at equal class size ({relation.plain:+.2f} in all), over "
            f"{relation.classes} classes; accuracies from {relation.source}."
        )
    if inspection.early_start:
        found.append(f"This run has {inspection.early_start}")
    empty = int((inspection.counts == 0).sum())
    if empty:
        found.append(f"Classes without training images: {empty}. Their weight is 1, and no number here includes them.")
    if inspection.stale:
        found.append(
            f"Epochs left out: {ranges(inspection.stale)}. Their arrays are older than the run's last start: it was "
            "resumed at an earlier epoch, or another run used the folder before."
        )
    return found


def _radius_and_size(inspection: Inspection) -> str:
    size = inspection.size
    if not inspection.measured:
        series = inspection.series.weights.values()
        fixed = all(np.array_equal(rows[0], row, equal_nan=True) for rows in series for row in rows)
        weights = "all weights are 1" if inspection.all_weights_one else "these weights follow from the class counts"
        never = "never change" if fixed and len(inspection.series.epochs) > 1 else "this epoch has no radii from logits"
        return f"Not measured here: {weights} and {never}."
    if size.classes > 2 and inspection.counts[inspection.own].min() == inspection.counts[inspection.own].max():
        return "Not defined here: all classes with a radius of their own have the same number of training images."
    if math.isnan(size.measured):
        return "Unknown: the radii are all equal, or fewer than 3 classes have a radius of their own."
    if not inspection.samples_known:
        return (
            "Unknown: how many samples are behind these radii is not recorded, so their bias from few samples is not "
            "known. Either no radii were measured between a resume and the end of this epoch, so that older ones were "
            "kept, or this weighting counts no samples."
        )
    if math.isnan(size.corrected):
        return (
            "Unknown: along the first principal axes the bias of a radius from few samples is not known. Variants dv "
            "and bv, and pv with all axes, have a known correction."
        )
    if math.isnan(size.level) or size.level >= 1:
        return (
            f"Unknown: only {size.classes} classes have a radius of their own, so few that even a perfect order (rank "
            "correlation 1) occurs by chance more than once in 20."
        )
    if size.sign:
        answer = {
            -1: "Rarer classes tend to have larger radii, as the paper says",
            1: "Rarer classes tend to have smaller radii, against the paper",
        }[size.sign]
    elif abs(size.corrected) > size.level + ROUNDING:
        answer = "No clear relation: it vanishes with half or twice the correction for few samples"
    else:
        answer = "No relation beyond chance"
    many, _, few = inspection.summaries
    ratio = ""
    if many.corrected_radius and few.corrected_radius and many.radius and few.radius:
        ratio = (
            f" Median radius, few-shot over many-shot: {few.corrected_radius / many.corrected_radius:.3g} corrected, "
            f"{few.radius / many.radius:.3g} as measured."
        )
    return (
        f"{answer}: rank correlation of radius and class size {size.corrected:+.2f} over {size.classes} classes, radii "
        f"corrected for few samples ({size.measured:+.2f} as measured). If all volumes were equal, 95 % of such "
        f"correlations would lie within ±{size.level:.2f}.{ratio}"
    )


def _weight_and_size(inspection: Inspection) -> str:
    if inspection.all_weights_one:
        return "All weights are 1 in this epoch: re-weighting was not in force (yet)."
    draws, images, parts = inspection.weight_times_draws, inspection.weight_times_images, inspection.parts
    if images.whole <= 1 + EQUAL:
        return "Yes: alpha * n is the same for all classes."
    if draws.whole <= 1 + EQUAL:
        nothing = "; the radii add nothing" if inspection.measured else ""
        return (
            "It is just 1/m, m the expected draws of the sampler: alpha * m is the same for all classes (alpha * n "
            f"varies by a factor of {images.whole:.3g}, the sampler's n / m{nothing})."
        )
    radii = f"The radii vary by a factor of {parts.radii}"
    if not inspection.measured:
        answer = (
            "No: it is another function of the class counts (or of the sampler's draws), without volumes. alpha * n "
            f"varies by a factor of {images}."
        )
    elif parts.by_draws and parts.sampler.whole > 1 + EQUAL:
        answer = (
            f"No: alpha * n varies by a factor of {images}, for two reasons. {radii}. The sampler's n / m, with m its "
            f"expected draws, varies by {parts.sampler}, which has nothing to do with volumes."
        )
    else:
        answer = f"No: alpha * n varies only with the radii. {radii}."
    known = not math.isnan(inspection.weight_correlation)
    rank = f" Rank correlation of weight and class size {inspection.weight_correlation:+.2f}." if known else ""
    return (
        f"{answer} Factors are between the 10 % and 90 % quantiles of the classes; in brackets, between smallest and "
        f"largest.{rank}"
    )


def _equal_radii(inspection: Inspection, names: Names) -> str:
    """The share of the weights that comes from the radii, and the weights without them."""
    parts = inspection.parts
    by = np.abs(np.log(inspection.weights / parts.with_equal_radii))
    most = int(np.nanargmax(by))
    percent = round(100 * parts.share, 1) + 0.0  # no -0.0
    share = f"The radii explain {percent:.1f} % of the variance of log alpha over the classes; the counts the rest."
    if parts.share < AGAINST:
        share = (
            "The radii work against the class counts: as measured, classes with a large 1/n have small radii (few "
            "samples alone make a radius small), so that the weights become more equal."
        )
    return (
        f"{share} With equal radii the standard deviation of log alpha would be {parts.spread_without:.3f} instead of "
        f"{parts.spread_of_log:.3f}, and the weights would be 1/{'m' if parts.by_draws else 'n'}: half of them within "
        f"{100 * np.expm1(np.nanmedian(by)):.1f} % of the present ones; largest change: {label(names, most)} "
        f"({parts.with_equal_radii[most]:.3g} instead of {inspection.weights[most]:.3g})."
    )


def _substituted(inspection: Inspection, names: Names) -> str:
    indices = np.flatnonzero(inspection.substituted).tolist()
    all_equal = not indices and inspection.own.sum() > 1 and inspection.radius_spread.whole <= 1 + EQUAL
    if not inspection.measured or all_equal:
        return (
            "No class has a radius of its own in this epoch: none was measured (too few samples of every class, or "
            "weights that use no radii)."
        )
    if not indices:
        return "Every class with images has a radius of its own."
    listed = ", ".join(label(names, index) for index in indices[:LISTED]) + (", ..." if indices[LISTED:] else "")
    return f"Classes with too few samples, which took the mean log radius of the others ({len(indices)}): {listed}."


def run_inspect(
    run: Path,
    epoch: int | None = None,
    checkout: Path | None = None,
    out: Path | None = None,
    console: Console | None = None,
    groups: Convention | None = None,
) -> list[Path]:
    """Prints tables and findings; writes the pictures if a folder is given.

    ReportError for unusable input, and MissingExtraError without matplotlib for pictures; nothing is written then.
    """
    console = console or plain_console()
    epoch_files(run)  # an error for a missing run comes first
    if out is not None:
        require_matplotlib()
    inspections = inspect_run(run, epoch, groups)
    names = host_of_run(run).class_names(checkout or run, len(inspections[0].counts))
    pictures: list[Path] = []
    try:
        if out is not None:  # files first: the reader of the tables may close the pipe
            for inspection in inspections:
                suffix = f"_{inspection.logits}" if len(inspections) > 1 else ""
                pictures += write_pictures(inspection, names, out, suffix, run_name(run.resolve()))
    finally:
        for inspection in inspections:
            print_inspection(inspection, names, console)
    for path in pictures:
        console.print(f"wrote {escape(str(path))}", soft_wrap=True, highlight=False)
    if out is None:
        console.print("Pictures: --out DIR.")
    return pictures
