"""An inspection in the terminal: tables, and what they say in plain sentences."""

import math

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlltr_plugin.report.inspect.inspection import EQUAL, GroupSummary, Inspection, ranges
from vlltr_plugin.report.inspect.rank_correlation import chance_level
from vlltr_plugin.report.inspect.weight_parts import Spread

EXTREMES = 5
LISTED = 10

Names = list[str] | None


def print_inspection(inspection: Inspection, names: Names, console: Console) -> None:
    """Prints the groups, the classes with extreme radii, and the findings.

    Args:
        inspection: of one kind of logits.
        names: the classes' names, if known.
        console: where to.
    """
    console.print(groups_table(inspection))
    if not inspection.all_weights_one or inspection.series.radii_moved:
        console.print(extremes_table(inspection, names))
    for sentence in findings(inspection, names):
        console.print(f"- {escape(sentence)}", soft_wrap=True, highlight=False)


def label(names: Names, index: int) -> str:
    """The name of a class with its index, or the index alone."""
    return f"{names[index]} ({index})" if names else f"class {index}"


def groups_table(inspection: Inspection) -> Table:
    """One row a group: weights in force, radii measured, shares of the loss."""
    epochs = inspection.series.epochs
    title = f"Epoch {inspection.epoch} of {epochs[0]} to {epochs[-1]}, volumes from the {inspection.logits} logits"
    caption = (
        "weight, radius: median of the group; subst.: took the others' mean radius\n"
        "% of weight: share of the expected weights, at weights of 1 -> with these"
    )
    table = Table(title=title, caption=caption)
    table.add_column("group")
    for heading in ("classes", "images", "weight (range)", "radius", "subst.", "% of weight"):
        table.add_column(heading, justify="right")
    for summary in inspection.summaries:
        table.add_row(*_cells(summary))
    return table


def extremes_table(inspection: Inspection, names: Names) -> Table:
    """The classes with the largest and smallest radius of their own."""
    table = Table(title="Largest and smallest radius")
    table.add_column("class")
    for heading in ("group", "images", "radius", "weight"):
        table.add_column(heading, justify="right")
    largest, smallest = inspection.extremes(EXTREMES)
    for indices in (largest, smallest[::-1]):
        for index in indices:
            table.add_row(
                escape(label(names, index)),
                str(inspection.group[index]),
                str(inspection.counts[index]),
                f"{inspection.radii[index]:.3g}",
                f"{inspection.weights[index]:.3g}",
            )
        table.add_section()
    return table


def findings(inspection: Inspection, names: Names) -> list[str]:
    """What the arrays say, each in a sentence or two."""
    found = [_radius_and_size(inspection), _weight_and_size(inspection), _substituted(inspection, names)]
    if not inspection.all_weights_one and not _by_counts_alone(inspection):
        found.insert(2, _equal_radii(inspection, names))
    empty = int((inspection.counts == 0).sum())
    if empty:
        found.append(f"{empty} classes have no training images: weight 1, in none of these numbers.")
    if inspection.stale:
        found.append(
            f"Epochs left out: {ranges(inspection.stale)}. Their arrays are of before the run's last start: it "
            "was resumed at an earlier epoch, or another run had the folder before it."
        )
    return found


def _radius_and_size(inspection: Inspection) -> str:
    rho, number = inspection.radius_correlation, int(inspection.own.sum())
    question = "Do rare classes have a larger volume?"
    if math.isnan(rho):
        return f"{question} These radii cannot tell: they are all equal, or fewer than 3 classes have their own."
    level = chance_level(number)
    if len(inspection.series.epochs) > 1 and not inspection.series.radii_moved:
        return f"{question} Not measured here: these radii follow from the class counts and never change."
    if abs(rho) <= level:
        answer = "No relation beyond chance"
    elif rho < 0:
        answer = "Rarer classes tend to have larger radii, as the paper says"
    else:
        answer = "Rarer classes tend to have smaller radii, against the paper"
    text = (
        f"{question} {answer}: rank correlation of radius and class size {rho:+.2f} over {number} classes "
        f"(chance alone stays within ±{level:.2f}, 19 times in 20)."
    )
    radius = {summary.name: summary.radius for summary in inspection.summaries}
    if radius["few"] and radius["many"]:
        text += f" Median radius, few-shot over many-shot: {radius['few'] / radius['many']:.3g}."
    return text


def _weight_and_size(inspection: Inspection) -> str:
    question = "Is the weight of a class just 1/n?"
    if inspection.all_weights_one:
        return f"{question} All weights are 1 in this epoch: re-weighting was not in force (yet)."
    draws, images, parts = inspection.weight_times_draws, inspection.weight_times_images, inspection.parts
    if images.whole <= 1 + EQUAL:
        return f"{question} Yes: alpha * n is the same for all classes."
    if draws.whole <= 1 + EQUAL:
        return (
            f"{question} It is just 1/m, m the expected draws of the sampler: alpha * m is the same for all classes "
            f"(alpha * n varies by a factor of {images.whole:.3g}, the sampler's n / m; the radii add nothing)."
        )
    radii = f"The radii vary by a factor of {_factors(parts.radii)}"
    if parts.by_draws and parts.sampler.whole > 1 + EQUAL:
        answer = (
            f"No, for two reasons that are to be kept apart. {radii}; the sampler's n / m, m its expected draws, by "
            f"{_factors(parts.sampler)}, which has nothing to do with volumes. Together, alpha * n varies by "
            f"{_factors(images)}, alpha * m by what the radii do."
        )
    else:
        answer = f"No, and what alpha * n varies by are the radii alone. {radii}."
    return (
        f"{question} {answer} In brackets: from the smallest to the largest of all classes, else between their 10 % "
        f"and 90 % quantiles. Rank correlation of weight and class size {inspection.weight_correlation:+.2f}."
    )


def _by_counts_alone(inspection: Inspection) -> bool:
    return min(inspection.weight_times_draws.whole, inspection.weight_times_images.whole) <= 1 + EQUAL


def _factors(spread: Spread) -> str:
    return f"{spread.middle:.3g} ({spread.whole:.3g})"


def _equal_radii(inspection: Inspection, names: Names) -> str:
    """How much of the weights is the radii, and what would be without them."""
    parts = inspection.parts
    change = inspection.weights / parts.with_equal_radii
    by = np.abs(np.log(change))
    most = int(np.nanargmax(by))
    closer = ", less than nothing: they bring the weights closer together" if parts.share < -EQUAL else ""
    return (
        f"How much of the weights is the volume? The radii explain {100 * parts.share:.1f} % of the variance of "
        f"log alpha over the classes{closer}; the counts the rest. With equal radii the standard deviation of log "
        f"alpha would be {parts.spread_without:.3f} in place of {parts.spread_of_log:.3f}, and the weights "
        f"1/{'m' if parts.by_draws else 'n'}: half of them within {100 * np.expm1(np.nanmedian(by)):.1f} % of what "
        f"they are, the most changed {label(names, most)} ({parts.with_equal_radii[most]:.3g} in place of "
        f"{inspection.weights[most]:.3g})."
    )


def _substituted(inspection: Inspection, names: Names) -> str:
    indices = np.flatnonzero(inspection.substituted).tolist()
    if not indices and inspection.own.sum() > 1 and inspection.radius_spread.whole <= 1 + EQUAL:
        return (
            "No class has a radius of its own in this epoch: none was measured (too few samples of every class, or "
            "weights that take no radii)."
        )
    if not indices:
        return "Every class with images has a radius of its own."
    listed = ", ".join(label(names, index) for index in indices[:LISTED]) + (", ..." if indices[LISTED:] else "")
    return f"{len(indices)} classes with too few samples took the mean log radius of the others: {listed}."


def _cells(summary: GroupSummary) -> list[str]:
    if summary.images is None or summary.weights is None:
        return [summary.name, "0", *["-"] * 5]
    low, median, high = summary.weights
    return [
        summary.name,
        str(summary.classes),
        f"{summary.images[0]}-{summary.images[1]}",
        f"{median:.2g} ({low:.2g}-{high:.2g})",
        f"{summary.radius:.3g}" if summary.radius is not None else "-",
        str(summary.substituted),
        f"{100 * summary.share_of_draws:.0f} -> {100 * summary.share_of_weight:.0f}",
    ]
