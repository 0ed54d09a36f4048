"""A table of text, shown by rich in the terminal and as Markdown in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        title: what it shows.
        header: of each column; a line break is allowed.
        rows: cells of each row; the first one is its title.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def rich(self) -> Table:
        """The table for the terminal."""
        table = Table(title=escape(self.title), title_justify="left", title_style="bold")
        for number, heading in enumerate(self.header):
            table.add_column(escape(heading), justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*(escape(cell) for cell in row))
        return table

    def markdown(self) -> str:
        """The table with its title as a heading."""
        rule = ["---", *["---:"] * (len(self.header) - 1)]
        lines = [_row(self.header), _row(rule), *(_row(row) for row in self.rows)]
        return "\n".join([f"## {self.title}", "", *lines, ""])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"
