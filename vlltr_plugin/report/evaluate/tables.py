"""An evaluation in the terminal."""

from typing import Any

from rich.console import Console
from rich.markup import escape

from vlltr_plugin.core.shot_groups import GROUPS, OTHERS, UPSTREAM, convention_of
from vlltr_plugin.hosts import get_host
from vlltr_plugin.report.accuracy import overall_rule, shots_rule
from vlltr_plugin.report.evaluate.evaluation import Choice, outputs_of, own_result
from vlltr_plugin.report.tables import Table, fixed

HOST_MARK = "*"

Evaluation = dict[str, Any]


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Prints the tables of overall numbers, groups and the trade-off curve, with their notes."""
    trade_off = evaluation["trade_off"]
    shown: list[Any] = [overall_table(evaluation).rich(), groups_table(evaluation).rich(), *notes(evaluation)]
    shown += [trade_off_table(trade_off).rich(), *trade_off_notes(trade_off)]
    for one in shown:
        line = isinstance(one, str)
        console.print(escape(one) if line else one, soft_wrap=line, highlight=False)


def overall_table(evaluation: Evaluation) -> Table:
    """One row a rule."""
    images, whole = evaluation["images"], evaluation["split_images"]
    part = f"{images} of {whole} images, evenly spaced" if images < whole else f"{images} images"
    of_set = f"{evaluation['data_set']}, " if evaluation["data_set"] else ""
    rows = []
    for rule, values in evaluation["rules"].items():
        mark = HOST_MARK if rule == overall_rule(evaluation["rules"]) and _logs(evaluation) else ""
        numbers = [values["macro_top1"], values["harmonic_top1"], values["worst_class"]["top1"], values["ece"]]
        top = (f"{values[name]:.2f}{mark}" for name in ("top1", "top5"))
        rows.append((_title(rule), *top, *map(fixed, numbers)))
    return Table(
        f"{of_set}{evaluation['split']} split, {part}, in percent",
        ("prediction", "top-1", "top-5", "class mean", "harmonic", "worst class", "ECE"),
        tuple(rows),
    )


def groups_table(evaluation: Evaluation) -> Table:
    """Top-1 of each group of classes by each convention, with a column for each rule."""
    rules = evaluation["rules"]
    chosen = evaluation["trade_off"]["groups"]
    names = sorted((name for name in evaluation["groups"] if name != "untrained"), key=lambda name: name != chosen)
    words = {UPSTREAM.name: "upstream's", OTHERS.name: "those of most other papers"}
    rows: list[tuple[str, ...]] = []
    sections = []
    for convention in map(convention_of, names):
        for name, size in evaluation["groups"][convention.name].items():
            cells = {rule: fixed(rules[rule]["groups"][convention.name][name]["micro"]) for rule in rules}
            if convention is UPSTREAM and _logs(evaluation) and get_host(evaluation["host"]).logs_groups:
                cells[shots_rule(rules)] += HOST_MARK
            title = f"{name} {convention.bounds(name)}" if name in GROUPS else f"<= {name.removesuffix('-shot')}"
            rows.append((title, str(size["classes"]), str(size["images"]), *cells.values()))
        sections.append(len(rows))
    return Table(
        "Top-1 by training images of a class",
        ("group", "classes", "images", *map(_title, rules)),
        tuple(rows),
        caption="; ".join(f"{convention_of(name).numbers}: {words.get(name, 'as given')}" for name in names),
        sections=tuple(sections),
    )


def notes(evaluation: Evaluation) -> list[str]:
    """Notes below the tables."""
    rules = evaluation["rules"]
    host = get_host(evaluation["host"]).title if evaluation.get("host") else ""
    found = []
    if outputs := outputs_of(rules):
        found.append(
            f"{HOST_MARK} what {host} logs: its overall accuracy and its groups come from different predictions."
        )
        share, (first, second) = evaluation["settings"]["visual_share"], map(_title, outputs)
        found.append(f"mixture: {share:g} * softmax({first}) + {1 - share:g} * softmax({second}); sum: of the logits.")
    elif _logs(evaluation):
        found.append(f"{HOST_MARK} what {host} logs.")
    if numbers := own_result(evaluation):
        each = ", ".join(f"{name} {value:.2f}" for name, value in numbers.items() if value is not None)
        found.append(f"{host}'s own result on these images: {each} (each group the mean over its classes).")
    overall = rules[overall_rule(rules)]
    worst, zero = overall["worst_class"], overall["classes_at_0"]
    name = f"{worst['name']} ({worst['class']})" if worst["name"] else str(worst["class"])
    harmonic = f"; classes at 0 %: {zero}, so the harmonic mean is 0" if zero else ""
    found.append(f"Worst class: {name}, {worst['top1']:.2f} %{harmonic}.")
    untrained = evaluation["groups"]["untrained"]
    if untrained["images"]:
        as_host = f", as in {host}" if _logs(evaluation) else ""
        found.append(
            f"Images of classes without training images: {untrained['images']} ({untrained['classes']} classes). They "
            f"count overall and in no group{as_host}."
        )
    if evaluation["not_finite"]:
        found.append(
            f"Images with logits that are not finite: {evaluation['not_finite']}. Their predictions are meaningless."
        )
    found += evaluation.get("notes", [])
    return found + [
        f"Differs from the training run: {key} is {here['here']!r} here, was {here['training']!r}."
        for key, here in evaluation["differs_from_training"].items()
    ]


def trade_off_table(trade_off: dict[str, Any]) -> Table:
    """One row a tau."""
    bounds = convention_of(trade_off["groups"]).bounds
    points = trade_off["rules"][overall_rule(trade_off["rules"])]
    rows = []
    for row, point in zip(trade_off["rows"], points, strict=True):
        numbers = [
            *(row[name] for name in ("top1", *GROUPS)),
            point["macro_top1"],
            point["harmonic_top1"],
            point["ece"],
        ]
        rows.append((f"{row['tau']:g}", *map(fixed, numbers)))
    return Table(
        f"Trade-off: logits - tau * log({trade_off['prior']}), in percent",
        ("tau", "top-1", *(f"{group}\n{bounds(group)}" for group in GROUPS), "class mean", "harmonic", "ECE"),
        tuple(rows),
    )


def trade_off_notes(trade_off: dict[str, Any]) -> list[str]:
    """Notes below the trade-off table."""
    instead = " (--prior counts takes the training images of each class)" if trade_off["prior"] == "draws" else ""
    found = [f"Prior: {trade_off['prior_source']}{instead}."]
    two = "mixture" in trade_off["rules"]
    if two:
        found.append(
            "Each output's logits are adjusted before its softmax; top-1, means over the classes and ECE are of the "
            "mixture, the groups of the sum of logits, as in the host's log. evaluation.json has all numbers of both."
        )
    if trade_off["without_prior"]:
        number = trade_off["without_prior"]
        found.append(f"Classes with prior 0: {number}. They are adjusted as the rarest class that has more.")
    unseen = [name for name in ("many", "few") if all(row[name] is None for row in trade_off["rows"])]
    if unseen:
        found.append(f"No picture of the curve: no images of {'- and '.join(unseen)}-shot classes.")
    choice = Choice(**trade_off["choice"])
    found.append(f"Best top-1 at tau {choice.tau:g}, {choice.words}.{choice.edge}")
    if choice.tau and not two:
        found.append(f"At test time: vlltr_plugin.LogitAdjustment({trade_off['prior']}, tau={choice.tau:g}).")
    if choice.why_here:
        found.append(f"No validation split to choose tau on: {choice.why_here}")
    return found


def _logs(evaluation: Evaluation) -> bool:
    """True if a host evaluated its checkpoint, and logs the accuracies of these tables."""
    return bool(evaluation.get("host")) and "logits" not in evaluation and not own_result(evaluation)


def _title(rule: str) -> str:
    return rule.replace("_", "-")
