"""Tables for the terminal (rich), Markdown and CSV, and functions that format numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

MISSING = "-"
WIDE = 400  # width if the output is not a terminal, so that tables in files and pipes are not wrapped


@dataclass(frozen=True)
class Table:
    """A table of text: the first column is aligned left, the others right; headings may have line breaks.

    `sections` are the numbers of the rows after which the terminal shows a line.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    caption: str = ""
    sections: tuple[int, ...] = ()

    def rich(self) -> RichTable:
        """For the terminal."""
        table = RichTable(
            title=escape(self.title), title_justify="left", title_style="bold", caption=escape(self.caption) or None
        )
        for number, heading in enumerate(self.header):
            table.add_column(escape(heading), justify="right" if number else "left")
        for number, row in enumerate(self.rows, 1):
            table.add_row(*(escape(str(cell)) for cell in row), end_section=number in self.sections)
        return table

    def markdown(self) -> str:
        """With its title as a heading."""
        rule = ["---", *["---:"] * (len(self.header) - 1)]
        lines = [_markdown_row(row) for row in (self.header, rule, *self.rows)]
        return "\n".join([f"## {self.title}", "", *lines, "", *([self.caption, ""] if self.caption else [])])

    def csv(self) -> str:
        """The header and the rows, each cell as `str` writes it."""
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([self.header, *self.rows])
        return buffer.getvalue()


def plain_console() -> Console:
    """A console of the terminal's width, or of wide lines if the output is not a terminal; `:x:` stays `:x:`."""
    console = Console(emoji=False)
    return console if console.is_terminal else Console(width=WIDE, emoji=False)


def _markdown_row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"


def fixed(value: float | None, digits: int = 2) -> str:
    """A number with `digits` digits after the point; `-` for None."""
    return MISSING if value is None else f"{value:.{digits}f}"


def signed(value: float, digits: int) -> str:
    """A number with its sign; zero is never negative."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def plus_minus(half: float | None, digits: int) -> str:
    """Half an interval as ` ±0.12`, to be put after a number; empty for None."""
    return "" if half is None else f" ±{half:.{digits}f}"
