"""Python source as bytes: physical lines that join to the same bytes again, and the plug-in's marked lines."""

from __future__ import annotations

import ast
import codecs
import contextlib
import io
import re
import tokenize
import warnings
from dataclasses import dataclass

# Python ends a line at LF, CRLF or a lone CR and nowhere else (bytes.splitlines would also do, str's would not).
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
# The line must also name the plug-in's code, so that another comment that ends like a marker is never removed; one
# more comment may follow (a linter's pragma). The version is free: every version finds the lines of every other one.
_MARKED = re.compile(
    rb"^(?P<code>.*\b(?:vlltr_plugin|reweight_hook)\b.*?)\s*#\s*vlltr-plugin(?:\s+(?P<version>\d[\w.+!-]*))?\s*(?:#.*)?$"
)


@dataclass(frozen=True)
class MarkedLine:
    """A line that the plug-in inserted."""

    index: int  # among all lines
    at: int  # how many unmarked lines stand before it
    code: str  # without indentation and marker
    version: str  # that its marker states, or "unknown"


@dataclass(frozen=True)
class Source:
    """A file, byte for byte: its byte order mark, if any, and its lines with their endings."""

    bom: bytes
    lines: tuple[bytes, ...]

    @classmethod
    def of(cls, data: bytes) -> Source:
        """Splits a file's bytes."""
        bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
        return cls(bom, tuple(_LINE.findall(data[len(bom) :])))

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        return self.bom + b"".join(self.lines)

    def indentation(self, index: int) -> bytes:
        """Leading blanks of a line."""
        line = self.lines[index]
        return line[: len(line) - len(line.lstrip(b" \t\f"))]

    def ending(self, index: int) -> bytes:
        """Line ending of a line; LF if it has none."""
        line = self.lines[index]
        return line[len(line.rstrip(b"\r\n")) :] or b"\n"

    def marked(self) -> list[MarkedLine]:
        """The plug-in's lines, in file order."""
        matches = {i: m for i, line in enumerate(self.lines) if (m := _MARKED.match(line.rstrip(b"\r\n")))}
        quoted: set[int] = set()  # lines that end inside a string: what looks like a marker there is text
        with contextlib.suppress(SyntaxError):
            for node in ast.walk(parse(self.data)) if matches else ():
                if isinstance(node, ast.Constant | ast.JoinedStr):
                    quoted.update(range(node.lineno - 1, (node.end_lineno or node.lineno) - 1))
        found: list[MarkedLine] = []
        for index, match in matches.items():
            if index not in quoted:
                code = match["code"].decode("utf-8", "replace").strip()
                version = (match["version"] or b"unknown").decode("ascii", "replace")
                found.append(MarkedLine(index, index - len(found), code, version))
        return found

    def without_marked(self) -> Source:
        """The file without the plug-in's lines."""
        ours = {line.index for line in self.marked()}
        return Source(self.bom, tuple(line for i, line in enumerate(self.lines) if i not in ours))

    def text_lines(self) -> list[str]:
        """The lines as text without their endings, for display only."""
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(self.data).readline)
        except SyntaxError:
            encoding = "utf-8"
        return [line.rstrip(b"\r\n").decode(encoding, "replace") for line in self.lines]


def parse(data: bytes) -> ast.Module:
    """Parses a file's bytes without the host's own warnings (such as invalid escapes); SyntaxError if it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(data)
        except ValueError as error:  # null bytes, up to Python 3.11.3
            raise SyntaxError(str(error)) from error
