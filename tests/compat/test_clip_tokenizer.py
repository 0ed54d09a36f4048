"""The tokenizer offered in place of OpenAI's has its names and its ids."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vlltr_plugin.compat.stand_ins import load_tokenizer, supply_clip


@pytest.fixture
def without_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("clip", "clip.simple_tokenizer"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    pytest.importorskip("open_clip", exc_type=ImportError)
    return load_tokenizer()


def test_start_and_end_tokens_carry_openai_names(tokenizer: Any) -> None:
    assert tokenizer.encoder["<|startoftext|>"] == 49406
    assert tokenizer.encoder["<|endoftext|>"] == 49407
    assert len(tokenizer.encoder) == len(tokenizer.decoder) == 49408


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        # from OpenAI's tokenizer
        ("a photo of a Cat.", [320, 1125, 539, 320, 2368, 269]),
        ("  It's   3.14 &amp; caf\u00e9 ", [585, 568, 274, 269, 272, 275, 261, 15304]),
        ("x <|endoftext|>", [343, 49407]),
    ],
)
def test_ids_are_those_of_openai(tokenizer: Any, text: str, ids: list[int]) -> None:
    assert tokenizer.encode(text) == ids


@pytest.mark.usefixtures("without_clip")
def test_a_missing_package_is_supplied_twice_without_harm() -> None:
    supply_clip()
    first = importlib.import_module("clip.simple_tokenizer")
    supply_clip()
    assert sys.modules["clip.simple_tokenizer"] is first
    from clip.simple_tokenizer import SimpleTokenizer

    assert SimpleTokenizer is load_tokenizer


@pytest.mark.usefixtures("without_clip")
def test_a_real_package_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "__init__.py").write_text("")
    (tmp_path / "clip" / "simple_tokenizer.py").write_text("class SimpleTokenizer: real = True")
    monkeypatch.syspath_prepend(str(tmp_path))
    supply_clip()
    from clip.simple_tokenizer import SimpleTokenizer

    assert hasattr(SimpleTokenizer, "real")


@pytest.mark.usefixtures("without_clip")
@pytest.mark.parametrize("broken", [False, True])
def test_a_checkout_s_own_package_on_a_path_that_is_added_later_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "__init__.py").write_text("def tokenize(): return 'real'")
    code = "import nothing_of_this_name" if broken else "class SimpleTokenizer: real = True"
    (tmp_path / "clip" / "simple_tokenizer.py").write_text(code)
    supply_clip()
    monkeypatch.syspath_prepend(str(tmp_path))
    if broken:
        with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
            from clip.simple_tokenizer import SimpleTokenizer
        return
    from clip.simple_tokenizer import SimpleTokenizer

    assert hasattr(SimpleTokenizer, "real")
    import clip

    assert clip.tokenize() == "real"
    assert clip.simple_tokenizer.SimpleTokenizer is SimpleTokenizer


@pytest.mark.usefixtures("without_clip")
@pytest.mark.parametrize("kind", ["folder", "package", "module"])
def test_something_else_named_clip_gets_the_tokenizer_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "module":
        (tmp_path / "clip.py").write_text("own = True")
    else:
        (tmp_path / "clip").mkdir()
    if kind == "package":
        (tmp_path / "clip" / "__init__.py").write_text("own = True")
    monkeypatch.syspath_prepend(str(tmp_path))
    supply_clip()
    import clip
    from clip.simple_tokenizer import SimpleTokenizer

    assert SimpleTokenizer is load_tokenizer
    assert hasattr(clip, "own") == (kind != "folder")


@pytest.mark.usefixtures("without_clip")
def test_another_package_named_clip_stays_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("clip")
    other.command_line = True  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "clip", other)
    supply_clip()
    from clip.simple_tokenizer import SimpleTokenizer

    assert SimpleTokenizer is load_tokenizer
    assert sys.modules["clip"] is other


def test_a_missing_open_clip_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip.tokenizer", None)
    with pytest.raises(ModuleNotFoundError, match="pip install open_clip_torch"):
        load_tokenizer()
