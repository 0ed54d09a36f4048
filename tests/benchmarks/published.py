"""Write every table that comes from committed results into the documents that show it.

python tests/benchmarks/published.py

A table stands below a marker, `<!-- table: NAME -->`. `tests/frozen_tower/test_published_tables.py` compares.
"""

import re
from pathlib import Path
from textwrap import indent

import assign
import cost_tables
import frozen_tower_tables
import ranks
import repeated_draws
import small_classes
import statistics_cost
import trade_off_coverage
from common import RESULTS, lines_of

from vlltr_plugin.cifar_lt.results import read
from vlltr_plugin.cifar_lt.tables import tables

ROOT = Path(__file__).parents[2]
PAGES = ("frozen_tower", "cifar_lt", "cost", "reports")
DOCUMENTS = ("README.md", "vlltr_plugin/core/README.md", *(f"tests/benchmarks/{page}.md" for page in PAGES))
MARKED = re.compile(r"(( *)<!-- table: (.+?) -->\n)((?: *\|.*\n)*)")
"""Indent, name, table."""
CIFAR_LT = (
    "cifar10",
    "cifar10_sqrt",
    "full_cifar10",
    "trained_cifar10",
    "cifar100",
    "full_cifar100",
    "trained_cifar100",
)


def published() -> dict[str, str]:
    """All tables, by the name in their marker."""
    found = frozen_tower_tables.all_tables()
    for name in CIFAR_LT:  # what `vlltr-plugin cifar-lt --table` prints, without titles and notes
        for kind, sheet in zip(("", ", paired", ", measures"), tables(read(RESULTS / f"{name}.jsonl"))):  # noqa: B905
            found[name + kind] = "\n".join(line for line in sheet.markdown().splitlines() if line.startswith("|"))
    found["assign"] = assign.tabled(lines_of("assign"))
    found["repeated draws, normal"] = repeated_draws.tabled_normal()
    found["repeated draws"] = repeated_draws.tabled(lines_of("repeated_draws"))
    found["eight ranks"] = ranks.eight_ranks()
    found |= {"whole step": cost_tables.whole_step(), "head time": cost_tables.head_time()}
    found["head memory"] = cost_tables.head_memory()
    found["small classes"] = small_classes.tabled(lines_of("small_classes"))
    found["step cost"] = statistics_cost.tabled(lines_of("statistics_cost"))
    found["coverage"] = trade_off_coverage.tabled(lines_of("trade_off_coverage"))
    return found


def main() -> None:
    found = published()
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(
            MARKED.sub(lambda match: match[1] + indent(found[match[3]], match[2]) + "\n", path.read_text("utf-8")),
            "utf-8",
        )


if __name__ == "__main__":
    main()
