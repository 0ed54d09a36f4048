"""Bytes in, bytes out: where the lines go, what they keep, and that they come out again."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from install.small_hosts import HOST, rewrite, run_host

from vlltr_plugin import __version__
from vlltr_plugin.install import InstallError, load_recipes
from vlltr_plugin.install.patcher import with_lines, without_lines
from vlltr_plugin.install.syntax import Source

RECIPE = load_recipes()["vl-ltr"].patches[0]
NOW = f"vlltr-plugin {__version__}".encode()


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({"found": None, "last": 1}, ["", "().begin_epoch", "().end_epoch", "().checkpoint"]),
        ({"found": {"at": 4}, "judge": True}, ["", "().load"]),
    ],
    ids=["without a checkpoint", "evaluation only"],
)
def test_only_what_the_host_reaches_is_called(options, calls):
    called, *_ = run_host(with_lines(HOST.encode(), RECIPE).after, **options)
    assert [name for name, *_ in called] == calls


NL = ["\n", "\r\n", "\r"]


@st.composite
def files(draw):
    """The host in a random but legal style: indentation, line endings, encoding, comments."""
    unit = draw(st.sampled_from(["\t", " ", "  ", "    ", "        "]))
    endings = draw(st.one_of(st.sampled_from(NL).map(lambda one: [one]), st.just(NL), st.just(NL[:2])))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-8 cookie"]))
    lines = ["# Überschrift: é"] if draw(st.booleans()) or "cookie" in encoding else []
    if encoding in ("latin-1", "cp1252", "utf-8 cookie"):
        lines.insert(0, f"# -*- coding: {encoding.split()[0]} -*-")
    for line in HOST.splitlines():
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
@given(original=files())
def test_any_style_is_restored_byte_for_byte(original):
    result = with_lines(original, RECIPE).after
    assert without_lines(result, RECIPE) == original
    assert with_lines(result, RECIPE).after == result
    before, after = Source.of(original), Source.of(result)
    assert len(after.lines) == len(before.lines) + 6
    assert ast.dump(ast.parse(after.without_marked().data)) == ast.dump(ast.parse(original))
    compile(result, "main.py", "exec")
    for line in after.marked():
        assert after.ending(line.index) in {before.ending(line.at), before.ending(line.at - 1)}


@pytest.mark.parametrize("text", [b"def main(:\n", b"\x00", b"# coding: nonsense\n", b"", b"\xff\xfe"])
def test_empty_or_non_python_files_are_refused(text):
    result = with_lines(text, RECIPE)
    assert result.refused.startswith("main.py: ")
    assert result.after == text


def test_a_line_that_only_ends_like_a_marker_stays_and_a_marker_before_a_linter_note_is_found():
    text = (HOST + "x = 1  # vlltr-plugin\ny = 2  # vlltr-plugin 0.1.0\n").encode()
    assert without_lines(text, RECIPE) == text
    result = with_lines(HOST.encode(), RECIPE).after.replace(NOW, NOW + b"  # noqa: E501")
    assert without_lines(result, RECIPE) == HOST.encode()


RESUME = '            if "at" in checkpoint:\n                args.first = checkpoint["at"] + 1\n'


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("attach(args", "attach(\n        args", "unmarked code still uses the plug-in"),
        ("mixup_fn)", "mixup_fn,\n    )", "unmarked code still uses the plug-in"),
        (RESUME, "", "not parse"),
    ],
    ids=["spread over lines", "spread at its end", "alone in its block"],
)
def test_a_line_that_cannot_be_taken_out_whole_stays(old, new, reason, make_checkout):
    main = make_checkout(with_lines(HOST.encode(), RECIPE).after) / "main.py"
    changed = rewrite(main, (old, new)).read_bytes()
    with pytest.raises(InstallError, match=reason):
        without_lines(changed, RECIPE)
