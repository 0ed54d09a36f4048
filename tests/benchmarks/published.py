"""Write every table that comes from committed results into the documents that show it.

python tests/benchmarks/published.py

A table stands below a marker, `<!-- table: NAME -->`. `tests/frozen_tower/test_published_tables.py` compares.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import frozen_tower_published
import numpy as np
from frozen_tower_markdown import RESULTS, lines_of, table

from vlltr_plugin.cifar_lt.results import read
from vlltr_plugin.cifar_lt.tables import tables

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", *(f"tests/benchmarks/{page}.md" for page in ("frozen_tower", "cifar_lt", "cost")))
MARKED = re.compile(r"(<!-- table: (.+?) -->\n)((?:\|.*\n)*)")
CIFAR_LT = ("cifar10", "cifar100", "full_cifar10", "cifar10_sqrt")


def small_classes() -> str:
    """Log radii from few images of a class."""
    lines = lines_of("small_classes")
    rows = []
    for size in dict.fromkeys(line["n"] for line in lines):
        own = [line for line in lines if line["n"] == size]
        bias, debiased = (np.mean([line[key] for line in own]) for key in ("bias", "debiased_bias"))
        names = ("rms", "debiased_rms", "mean_of_others_error")
        rms, debiased_rms, others = (np.sqrt(np.mean([line[key] ** 2 for line in own])) for key in names)
        rows.append([size, f"{bias:+.3f}, {rms:.3f}", f"{debiased:+.3f}, {debiased_rms:.3f}", f"{others:.3f}"])
    header = "| n | as measured: bias, rms | `debias=True`: bias, rms | mean of the other classes: rms |"
    return table(header, rows)


def step_cost() -> str:
    """Loss and statistics in a step, as a ratio to the plain loss."""
    rows = []
    for line in lines_of("statistics_cost"):
        if line["kind"] == "step":
            ratios = [line["cpu_ratio"][name] for name in ("hard", "mixup", "mixup, loss only")]
            shown = [f"{each['median']:.2f} ({each['low']:.2f} to {each['high']:.2f})" for each in ratios]
            megabytes = line["state_bytes"] / 1e6
            size = f"{megabytes:.0f} MB" if megabytes > 100 else f"{megabytes:.1f} MB"
            setting = line["classes"], line["features"] or "all", line["dtype"]
            rows.append([*setting, *shown, size, f"{line['end_epoch_cpu']:.2f} s"])
    header = "| classes | features | logits | hard labels | mixup targets | of which the loss | state | `end_epoch` |"
    return table(header, rows)


def cifar_lt() -> dict[str, str]:
    """What `vlltr-plugin cifar-lt --table` prints: errors, paired differences, measures; without titles and notes."""
    found = {}
    for name in CIFAR_LT:
        for kind, sheet in zip(("", ", paired", ", measures"), tables(read(RESULTS / f"{name}.jsonl"))):  # noqa: B905
            found[name + kind] = "\n".join(line for line in sheet.markdown().splitlines() if line.startswith("|"))
    return found


def published() -> dict[str, str]:
    """All tables, by the name in their marker."""
    others = {"small classes": small_classes(), "step cost": step_cost()}
    return {**frozen_tower_published.published(), **cifar_lt(), **others}


def filled(text: str, found: dict[str, Any]) -> str:
    """A document with its marked tables in place."""
    return MARKED.sub(lambda match: match[1] + found[match[2]] + "\n", text)


def main() -> None:
    """Write them."""
    found = published()
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(filled(path.read_text("utf-8"), found), "utf-8")


if __name__ == "__main__":
    main()
