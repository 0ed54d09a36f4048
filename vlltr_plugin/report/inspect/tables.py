"""An inspection in the terminal: tables, and findings in sentences."""

import math
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from vlltr_plugin.core.shot_groups import Convention
from vlltr_plugin.hosts import host_of_run
from vlltr_plugin.report.inspect.inspection import GroupSummary, Inspection, Names, Spread, inspect_run, label, ranges
from vlltr_plugin.report.inspect.pictures import write_pictures
from vlltr_plugin.report.inspect.size_relation import EQUAL, AccuracyRelation
from vlltr_plugin.report.labels import run_name
from vlltr_plugin.report.pictures import require_matplotlib
from vlltr_plugin.report.tables import Table
from vlltr_plugin.runs.epoch_files import epoch_files

EXTREMES = 5
LISTED = 10
AGAINST = -0.005
"""Share of the variance of log alpha below which the radii work against the counts; nearer to 0 it is no effect."""


def print_inspection(inspection: Inspection, names: Names, console: Console) -> None:
    """Prints the groups, the classes with extreme radii, and the findings."""
    console.print(groups_table(inspection).rich())
    if inspection.measured:
        console.print(extremes_table(inspection, names).rich())
    for sentence in findings(inspection, names):
        console.print(f"- {escape(sentence)}", soft_wrap=True, highlight=False)


def groups_table(inspection: Inspection) -> Table:
    """One row a group: weights in force, radii measured, shares of the loss."""
    epochs, measured = inspection.series.epochs, inspection.measured
    of_logits = f", volumes from the {inspection.logits} logits" if measured else ", no volume measured"
    radius = "weight, radius: median of the group; subst.: given the mean radius of the others\n" if measured else ""
    columns = ("radius", "subst.") if measured else ()
    return Table(
        f"Epoch {inspection.epoch} of {epochs[0]} to {epochs[-1]}{of_logits}",
        ("group", "classes", "images", "weight (range)", *columns, "% of weight"),
        tuple(
            (f"{summary.name} {inspection.groups.bounds(summary.name)}", *_cells(summary, measured))
            for summary in inspection.summaries
        ),
        caption=f"{radius}% of weight: share of the expected weights, at weights of 1 -> with these",
    )


def extremes_table(inspection: Inspection, names: Names) -> Table:
    """The classes with the largest and smallest radius of their own."""
    largest, smallest = inspection.extremes(EXTREMES)
    rows = [
        (
            label(names, index),
            str(inspection.group[index]),
            str(inspection.counts[index]),
            f"{inspection.radii[index]:.3g}",
            f"{inspection.weights[index]:.3g}",
        )
        for index in (*largest, *smallest[::-1])
    ]
    header = ("class", "group", "images", "radius", "weight")
    return Table("Largest and smallest radius", header, tuple(rows), sections=(len(largest),))


def findings(inspection: Inspection, names: Names) -> list[str]:
    """The findings, one or two sentences each."""
    found = [_radius_and_size(inspection), _weight_and_size(inspection), _substituted(inspection, names)]
    if inspection.measured and not inspection.all_weights_one and not _by_counts_alone(inspection):
        found.insert(2, _equal_radii(inspection, names))
    if inspection.accuracy is not None:
        found.append(_radius_and_accuracy(inspection.accuracy))
    empty = int((inspection.counts == 0).sum())
    if empty:
        found.append(f"{empty} classes have no training images: their weight is 1, and no number here includes them.")
    if inspection.stale:
        found.append(
            f"Epochs left out: {ranges(inspection.stale)}. Their arrays are older than the run's last start: it was "
            "resumed at an earlier epoch, or another run used the folder before."
        )
    return found


def _radius_and_size(inspection: Inspection) -> str:
    question, size = "Do rare classes have a larger volume?", inspection.size
    if not inspection.measured:
        never = "never change" if len(inspection.series.epochs) > 1 else "are not computed from logits"
        return f"{question} Not measured here: these weights follow from the class counts and {never}."
    if math.isnan(size.measured):
        return f"{question} Unknown: the radii are all equal, or fewer than 3 classes have a radius of their own."
    if math.isnan(size.corrected):
        return (
            f"{question} Unknown: along the first principal axes the bias of a radius from few samples is not known. "
            "Variants dv and bv, and pv with all axes, have a known correction."
        )
    if size.few_classes:
        return (
            f"{question} Unknown: only {size.classes} classes have a radius of their own, so few that even a perfect "
            "order (rank correlation 1) occurs by chance more than once in 20."
        )
    if size.sign < 0:
        answer = "Rarer classes tend to have larger radii, as the paper says"
    elif size.sign > 0:
        answer = "Rarer classes tend to have smaller radii, against the paper"
    elif size.beyond:
        answer = "No clear relation: it vanishes with half or twice the correction for few samples"
    else:
        answer = "No relation beyond chance"
    return (
        f"{question} {answer}: rank correlation of radius and class size {size.corrected:+.2f} over {size.classes} "
        f"classes, radii corrected for few samples ({size.measured:+.2f} as measured). If all volumes were equal, 95 % "
        f"of such correlations would lie within ±{size.level:.2f}.{_few_over_many(inspection)}"
    )


def _few_over_many(inspection: Inspection) -> str:
    many, _, few = inspection.summaries
    if many.corrected_radius is None or few.corrected_radius is None or many.radius is None or few.radius is None:
        return ""
    return (
        f" Median radius, few-shot over many-shot: {few.corrected_radius / many.corrected_radius:.3g} corrected, "
        f"{few.radius / many.radius:.3g} as measured."
    )


def _radius_and_accuracy(relation: AccuracyRelation) -> str:
    answer = {-1: "Yes", 0: "No relation beyond chance", 1: "No, they are easier"}[relation.sign]
    return (
        f"Are classes with a larger radius harder? {answer}: rank correlation of radius and accuracy "
        f"{relation.at_equal_size:+.2f} at equal class size ({relation.plain:+.2f} in all), over {relation.classes} "
        f"classes; accuracies from {relation.source}."
    )


def _weight_and_size(inspection: Inspection) -> str:
    question = "Is the weight of a class just 1/n?"
    if inspection.all_weights_one:
        return f"{question} All weights are 1 in this epoch: re-weighting was not in force (yet)."
    draws, images, parts = inspection.weight_times_draws, inspection.weight_times_images, inspection.parts
    if images.whole <= 1 + EQUAL:
        return f"{question} Yes: alpha * n is the same for all classes."
    if draws.whole <= 1 + EQUAL:
        nothing = "; the radii add nothing" if inspection.measured else ""
        return (
            f"{question} It is just 1/m, m the expected draws of the sampler: alpha * m is the same for all classes "
            f"(alpha * n varies by a factor of {images.whole:.3g}, the sampler's n / m{nothing})."
        )
    explained = (
        "Factors are between the 10 % and 90 % quantiles of the classes; in brackets, between smallest and largest. "
        f"Rank correlation of weight and class size {inspection.weight_correlation:+.2f}."
    )
    if not inspection.measured:
        return (
            f"{question} No: it is another function of the class counts (or of the sampler's draws), without volumes. "
            f"alpha * n varies by a factor of {_factors(images)}. {explained}"
        )
    radii = f"The radii vary by a factor of {_factors(parts.radii)}"
    if parts.by_draws and parts.sampler.whole > 1 + EQUAL:
        answer = (
            f"No, for two separate reasons. {radii}; the sampler's n / m, m its expected draws, by "
            f"{_factors(parts.sampler)}, which has nothing to do with volumes. Together, alpha * n varies by "
            f"{_factors(images)}; alpha * m varies as the radii do."
        )
    else:
        answer = f"No: alpha * n varies only with the radii. {radii}."
    return f"{question} {answer} {explained}"


def _by_counts_alone(inspection: Inspection) -> bool:
    return min(inspection.weight_times_draws.whole, inspection.weight_times_images.whole) <= 1 + EQUAL


def _factors(spread: Spread) -> str:
    return f"{spread.middle:.3g} ({spread.whole:.3g})"


def _equal_radii(inspection: Inspection, names: Names) -> str:
    """How much of the weights comes from the radii, and the weights without them."""
    parts = inspection.parts
    change = inspection.weights / parts.with_equal_radii
    by = np.abs(np.log(change))
    most = int(np.nanargmax(by))
    spread = (
        f"With equal radii the standard deviation of log alpha would be {parts.spread_without:.3f} instead of "
        f"{parts.spread_of_log:.3f}"
    )
    if parts.share < AGAINST:
        share = (
            "The radii work against the class counts: as measured, classes with a large 1/n have small radii (few "
            f"samples alone make a radius small), so that the weights become more equal. {spread}"
        )
    else:
        percent = round(100 * parts.share, 1) + 0.0  # no -0.0
        share = (
            f"The radii explain {percent:.1f} % of the variance of log alpha over the classes; the counts "
            f"the rest. {spread}"
        )
    return (
        f"How much of the weights comes from the volume? {share}, and the weights would be "
        f"1/{'m' if parts.by_draws else 'n'}: half of them within {100 * np.expm1(np.nanmedian(by)):.1f} % of the "
        f"present ones; largest change: {label(names, most)} ({parts.with_equal_radii[most]:.3g} instead of "
        f"{inspection.weights[most]:.3g})."
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
    return f"{len(indices)} classes with too few samples took the mean log radius of the others: {listed}."


def _cells(summary: GroupSummary, measured: bool) -> list[str]:
    if summary.images is None or summary.weights is None:
        return ["0", *["-"] * (5 if measured else 3)]
    low, median, high = summary.weights
    radius = [f"{summary.radius:.3g}" if summary.radius is not None else "-", str(summary.substituted)]
    return [
        str(summary.classes),
        f"{summary.images[0]}-{summary.images[1]}",
        f"{median:.2g} ({low:.2g}-{high:.2g})",
        *(radius if measured else ()),
        f"{100 * summary.share_of_draws:.0f} -> {100 * summary.share_of_weight:.0f}",
    ]


def run_inspect(
    run: Path,
    epoch: int | None = None,
    checkout: Path | None = None,
    out: Path | None = None,
    console: Console | None = None,
    groups: Convention | None = None,
) -> list[Path]:
    """Prints tables and findings; writes the pictures if a folder is given.

    Raises:
        ReportError: for unusable input; nothing is written then.
        MissingExtraError: pictures are wanted, but matplotlib is not installed.
        OSError: a file cannot be read, or not written: the tables are printed all the same then.
    """
    console = console or Console()
    epoch_files(run)  # an error for a missing run comes first
    if out is not None:
        require_matplotlib()
    inspections = inspect_run(run, epoch, groups)
    names = host_of_run(run).class_names(checkout or run, len(inspections[0].counts))
    pictures: list[Path] = []
    try:
        if out is not None:  # first: the tables may go to a pipe that is closed early
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
