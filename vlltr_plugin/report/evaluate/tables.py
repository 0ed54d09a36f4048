"""An evaluation in the terminal."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlltr_plugin.core.shot_groups import GROUPS, OTHERS, UPSTREAM, Convention, convention_of
from vlltr_plugin.hosts import get_host
from vlltr_plugin.report.accuracy import overall_rule, shots_rule
from vlltr_plugin.report.evaluate.evaluation import Choice
from vlltr_plugin.report.tradeoff.predictions import BRANCHES

HOST_MARK = "*"

Evaluation = dict[str, Any]


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Prints overall numbers, groups and the trade-off curve."""
    console.print(overall_table(evaluation))
    console.print(groups_table(evaluation))
    for line in notes(evaluation):
        console.print(escape(line), soft_wrap=True, highlight=False)
    console.print(trade_off_table(evaluation["trade_off"]))
    for line in trade_off_notes(evaluation["trade_off"]):
        console.print(escape(line), soft_wrap=True, highlight=False)


def overall_table(evaluation: Evaluation) -> Table:
    """One row a rule."""
    rules = evaluation["rules"]
    images, whole = evaluation["images"], evaluation["split_images"]
    part = f"{images} of {whole} images, evenly spaced" if images < whole else f"{images} images"
    of_set = f"{evaluation['data_set']}, " if evaluation["data_set"] else ""
    table = Table(title=f"{of_set}{evaluation['split']} split, {part}, in percent")
    table.add_column("prediction")
    for heading in ("top-1", "top-5", "class mean", "harmonic", "worst class", "ECE"):
        table.add_column(heading, justify="right")
    for rule, values in rules.items():
        mark = HOST_MARK if rule == overall_rule(rules) and _logs(evaluation) else ""
        numbers = [values["top1"], values["top5"], values["macro_top1"], values["harmonic_top1"]]
        numbers += [values["worst_class"]["top1"], values["ece"]]
        cells = [f"{number:.2f}" for number in numbers]
        cells[0] += mark
        cells[1] += mark
        table.add_row(_title(rule), *cells)
    return table


def groups_table(evaluation: Evaluation) -> Table:
    """Top-1 of each group of classes by each convention, one column a rule."""
    rules = evaluation["rules"]
    table = Table(
        title="Top-1 of the groups (training images of a class)",
        caption="; ".join(_whose(name, evaluation) for name in _conventions(evaluation)),
    )
    for heading in ("group", "classes", "images", *(_title(rule) for rule in rules)):
        table.add_column(heading, justify="left" if heading == "group" else "right")
    for convention in map(convention_of, _conventions(evaluation)):
        for name, size in evaluation["groups"][convention.name].items():
            values = {rule: rules[rule]["groups"][convention.name][name]["micro"] for rule in rules}
            cells = {rule: "-" if value is None else f"{value:.2f}" for rule, value in values.items()}
            if convention is UPSTREAM and _logs(evaluation):
                cells[shots_rule(rules)] += HOST_MARK
            table.add_row(_group_title(name, convention), str(size["classes"]), str(size["images"]), *cells.values())
        table.add_section()
    return table


def notes(evaluation: Evaluation) -> list[str]:
    """What to know when reading the tables."""
    rules = evaluation["rules"]
    host = _host(evaluation)
    found = []
    if "mixture" in rules:
        found.append(
            f"{HOST_MARK} what {host} logs: its overall accuracy and its groups come from different predictions."
        )
        share, (first, second) = evaluation["settings"]["visual_share"], map(_title, BRANCHES)
        found.append(f"mixture: {share:g} * softmax({first}) + {1 - share:g} * softmax({second}); sum: of the logits.")
    elif _logs(evaluation):
        found.append(f"{HOST_MARK} what {host} {'would log' if 'logits' in evaluation else 'logs'}.")
    if numbers := _own_numbers(evaluation):
        each = ", ".join(f"{name} {value:.2f}" for name, value in numbers.items() if value is not None)
        found.append(f"{host}'s own result on these images: {each} (each group the mean over its classes).")
    overall = rules[overall_rule(rules)]
    worst = overall["worst_class"]
    name = f"{worst['name']} ({worst['class']})" if worst["name"] else str(worst["class"])
    zero = overall["classes_at_0"]
    harmonic = f"; {zero} classes at 0 %, which makes the harmonic mean 0" if zero else ""
    found.append(f"Worst class: {name}, {worst['top1']:.2f} %{harmonic}.")
    untrained = evaluation["groups"]["untrained"]
    if untrained["images"]:
        found.append(
            f"{untrained['images']} images are of the {untrained['classes']} classes without training images: they "
            f"count overall and in no group{f', as in {host}' if _logs(evaluation) else ''}."
        )
    if evaluation["not_finite"]:
        found.append(
            f"{evaluation['not_finite']} images have logits that are not finite: their predictions mean nothing."
        )
    found += evaluation.get("notes", [])
    differing = evaluation["differs_from_training"]
    found += [
        f"Differs from the training run: {key} is {here['here']!r} here, was {here['training']!r}."
        for key, here in differing.items()
    ]
    return found


def _own_numbers(evaluation: Evaluation) -> dict[str, float | None]:
    """The host's result in numbers of its own; empty where it is made of those in the tables."""
    numbers: dict[str, float | None] = evaluation["host_log"]
    return {} if "acc1" in numbers else numbers


def _host(evaluation: Evaluation) -> str:
    return get_host(evaluation["host"]).title if evaluation.get("host") else ""


def _logs(evaluation: Evaluation) -> bool:
    """Whether a host is known that logs the accuracies of these tables."""
    known = evaluation.get("host")
    return known is not None and not get_host(known).groups_setting and not _own_numbers(evaluation)


def _conventions(evaluation: Evaluation) -> list[str]:
    """Those of the trade-off curve first."""
    chosen = evaluation["trade_off"]["groups"]
    return sorted((name for name in evaluation["groups"] if name != "untrained"), key=lambda name: name != chosen)


def _whose(name: str, evaluation: Evaluation) -> str:
    words = {UPSTREAM.name: "upstream's", OTHERS.name: "those of most other papers"}
    return f"{convention_of(name).numbers}: {words.get(name, 'as given')}"


def _title(rule: str) -> str:
    return rule.replace("_", "-")


def _group_title(name: str, convention: Convention) -> str:
    return f"{name} {convention.bounds(name)}" if name in GROUPS else f"<= {name.removesuffix('-shot')}"


def trade_off_table(told: dict[str, Any]) -> Table:
    """One row a tau."""
    table = Table(title=f"Trade-off: logits - tau * log({told['prior']}), in percent")
    table.add_column("tau", justify="right")
    bounds = convention_of(told["groups"]).bounds
    for heading in ("top-1", *(f"{group}\n{bounds(group)}" for group in GROUPS), "harmonic", "ECE"):
        table.add_column(heading, justify="right")
    points = told["rules"][overall_rule(told["rules"])]
    for row, point in zip(told["rows"], points, strict=True):
        numbers = [row["top1"], *(row[group] for group in GROUPS), point["harmonic_top1"], point["ece"]]
        table.add_row(f"{row['tau']:g}", *("-" if number is None else f"{number:.2f}" for number in numbers))
    return table


def trade_off_notes(told: dict[str, Any]) -> list[str]:
    """What to know when reading it."""
    instead = " (--prior counts takes the training images of each class)" if told["prior"] == "draws" else ""
    found = [f"Prior: {told['prior_source']}{instead}."]
    if "mixture" in told["rules"]:
        found.append(
            "Each branch's logits are adjusted before its softmax; top-1, harmonic mean and ECE are of the mixture, "
            "the groups of the sum of logits, as in the host's log. evaluation.json has all numbers of both."
        )
    if told["without_prior"]:
        found.append(f"{told['without_prior']} classes with prior 0 are adjusted as the rarest class that has more.")
    choice = Choice(**told["choice"])
    found.append(f"Best top-1 at tau {choice.tau:g}, {choice.words}.{choice.edge}")
    if choice.tau and "mixture" not in told["rules"]:
        found.append(f"At test time: vlltr_plugin.LogitAdjustment({told['prior']}, tau={choice.tau:g}).")
    if choice.why_here:
        found.append(f"No validation split to choose tau on: {choice.why_here}")
    return found
