"""Bytes in, bytes out: where the lines go, what they keep, and that they come out again."""

from __future__ import annotations

import ast
import codecs
import difflib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlltr_plugin import __version__
from vlltr_plugin.errors import AnchorError, InstallError
from vlltr_plugin.install.patcher import patched, unpatched
from vlltr_plugin.install.recipe import load_recipes
from vlltr_plugin.install.source import Source

RECIPE = load_recipes()["vl-ltr"].patches[0]
NOW = f"vlltr-plugin {__version__}".encode()


def added_lines(before: bytes, after: bytes) -> list[str]:
    delta = difflib.ndiff(before.decode().splitlines(), after.decode().splitlines())
    changed = [line for line in delta if line[0] in "+-"]
    assert all(line[0] == "+" for line in changed), changed
    return [line[2:] for line in changed]


def test_six_lines_are_added_and_none_is_changed(host: str) -> None:
    lines = added_lines(host.encode(), patched(host.encode(), RECIPE))
    assert [line.strip().split("  #")[0] for line in lines] == [item.line for item in RECIPE.insertions]
    assert all("  # vlltr-plugin " in line for line in lines)


def test_without_a_checkpoint_nothing_is_loaded(host: str, run_host: Callable[..., Any]) -> None:
    events, _ = run_host(patched(host.encode(), RECIPE), found=None, last=1)
    assert [name for name, _ in events] == ["attach", "begin", "end"]


def test_evaluation_only_attaches_and_loads(host: str, run_host: Callable[..., Any]) -> None:
    events, _ = run_host(patched(host.encode(), RECIPE), found={"at": 4}, judge=True)
    assert [name for name, _ in events] == ["attach", "load"]


def test_patching_twice_changes_nothing_more(host: str) -> None:
    once = patched(host.encode(), RECIPE)
    assert patched(once, RECIPE) == once


def test_a_byte_order_mark_before_the_first_import_stays_first(host: str) -> None:
    original = host[host.index("import json") :].encode("utf-8-sig")
    result = patched(original, RECIPE)
    assert result.startswith(codecs.BOM_UTF8 + b"import vlltr_plugin.compat")
    assert unpatched(result, RECIPE) == original


def test_lines_of_another_version_are_replaced(host: str) -> None:
    now = patched(host.encode(), RECIPE)
    old = now.replace(NOW, b"vlltr-plugin 9.8.7rc1+local").replace(
        b"import vlltr_plugin.compat", b"import vlltr_plugin"
    )
    assert old != now
    assert patched(old, RECIPE) == now
    assert unpatched(old, RECIPE) == host.encode()


NL = ["\n", "\r\n", "\r"]


@st.composite
def files(draw: st.DrawFn, host: str) -> bytes:
    """The host in a random but legal typographic dress."""
    unit = draw(st.sampled_from(["\t", " ", "  ", "    ", "        "]))
    endings = draw(st.one_of(st.sampled_from(NL).map(lambda one: [one]), st.just(NL), st.just(NL[:2])))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-8 cookie"]))
    lines = ["# Überschrift: é"] if draw(st.booleans()) or "cookie" in encoding else []
    if encoding in ("latin-1", "cp1252", "utf-8 cookie"):
        lines.insert(0, f"# -*- coding: {encoding.split()[0]} -*-")
    for line in host.splitlines():
        body = line.lstrip(" ")
        depth = (len(line) - len(body)) // 4
        remark = draw(st.sampled_from(["", "", "", "  # \x0cé"])) if body and '"""' not in body else ""
        lines.append(unit * depth + body + remark)
        lines += [""] * draw(st.sampled_from([0, 0, 0, 1]))
    text = "".join(line + draw(st.sampled_from(endings)) for line in lines)
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    return text.encode(encoding.split()[0])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_dress_is_restored_byte_for_byte(host: str, data: st.DataObject) -> None:
    original = data.draw(files(host))
    result = patched(original, RECIPE)
    assert unpatched(result, RECIPE) == original
    assert patched(result, RECIPE) == result
    before, after = Source.of(original), Source.of(result)
    assert len(after.lines) == len(before.lines) + 6
    assert ast.dump(ast.parse(after.without_marked().data)) == ast.dump(ast.parse(original))
    compile(result, "main.py", "exec")
    for line in after.marked():
        assert after.ending(line.index) in {before.ending(line.at), before.ending(line.at - 1)}


@pytest.mark.parametrize("text", [b"def main(:\n", b"\x00", b"# coding: nonsense\n", b"", b"\xff\xfe"])
def test_what_is_no_python_or_empty_is_refused(text: bytes) -> None:
    with pytest.raises(AnchorError, match=r"^main\.py: "):
        patched(text, RECIPE)


def test_a_line_that_only_ends_like_a_marker_stays(host: str) -> None:
    text = (host + "x = 1  # vlltr-plugin\ny = 2  # vlltr-plugin 0.1.0\n").encode()
    assert unpatched(text, RECIPE) == text


def test_marker_followed_by_a_linter_note_is_still_found(host: str) -> None:
    result = patched(host.encode(), RECIPE).replace(NOW, NOW + b"  # noqa: E501")
    assert unpatched(result, RECIPE) == host.encode()


@pytest.mark.parametrize(
    ("joint", "broken"), [("attach(args", "attach(\n        args"), ("mixup_fn)", "mixup_fn,\n    )")]
)
def test_a_line_that_a_formatter_spread_is_not_half_removed(host: str, joint: str, broken: str) -> None:
    result = patched(host.encode(), RECIPE).decode()
    spread = result.replace(joint, broken)
    compile(spread, "main.py", "exec")
    with pytest.raises(InstallError, match="unmarked code still uses the plug-in"):
        unpatched(spread.encode(), RECIPE)


def test_a_block_left_with_our_line_alone_is_not_broken(host: str) -> None:
    result = patched(host.encode(), RECIPE).decode()
    emptied = result.replace(
        '            if "at" in checkpoint:\n                args.first = checkpoint["at"] + 1\n', ""
    )
    with pytest.raises(InstallError, match="not parse"):
        unpatched(emptied.encode(), RECIPE)
