"""Every Python block of the documents runs as written, those of a document one after the other."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from api_page import PAGE, page

import vlltr_plugin
from vlltr_plugin.cli import main
from vlltr_plugin.core.registry import WEIGHTINGS

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    ".github/CONTRIBUTING.md",
    "configs/README.md",
    "vlltr_plugin/core/README.md",
    "vlltr_plugin/integrations/README.md",
)
BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
IMPORTS = re.compile(r"^(?:import|from) (\w+)", flags=re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)?(?:#([\w-]+))?\)")
GROUPS = ("all", "many", "medium", "few")
OWN_DATA = ROOT / "tests/examples/own_data.py"


def blocks_of(document: str) -> list[str]:
    return BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))


def run(code: str, names: dict, document: str) -> None:
    exec(compile(code, document, "exec"), names)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_run_in_order(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vlltr_plugin.core.registry.WEIGHTINGS", dict(WEIGHTINGS))  # a block may add one
    names, left_out = {"__name__": "__main__"}, []
    for code in blocks_of(document):
        if all(importlib.util.find_spec(name) for name in IMPORTS.findall(code)):
            run(code, names, document)
        else:
            left_out.append(code.splitlines()[0])
    if left_out:
        pytest.skip(f"the others ran; not installed: {', '.join(left_out)}")


def test_the_first_blocks_re_weight_and_adjust_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, *others = blocks_of("README.md")
    names = {"__name__": "__main__"}
    run(first, names, "README.md")
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]
    assert len(set(lines[-1].split("[")[1].split(","))) == 3
    for code in others:
        run(code, names, "README.md")
    pytest.importorskip("torchmetrics", reason="pip install '.[report]'")
    assert main(["evaluate", "--logits", "logits.npz"]) == 0
    chosen = json.loads((tmp_path / "logits/evaluation.json").read_text("utf-8"))["trade_off"]
    assert 0.5 <= chosen["choice"]["tau"] <= 1.5
    top1 = {row["tau"]: row["top1"] for row in chosen["rows"]}
    adjusted = names["classifier"](names["images"][600:]).argmax(1) == names["of_test"]
    assert 100 * adjusted.double().mean() == pytest.approx(top1[1.0])
    assert top1[1.0] > top1[0.0] + 5


def test_the_readme_is_short_and_says_early_what_it_needs() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text) <= 18_000
    assert "Python >= 3.10" in "".join(text.splitlines(keepends=True)[:60])


def test_the_page_of_the_api_is_that_of_the_docstrings_and_has_every_public_name() -> None:
    assert PAGE.read_text("utf-8") == page(), "run python tests/api_page.py"
    assert set(vlltr_plugin.__all__) <= set(re.findall(r"^### (\w+)$", page(), flags=re.MULTILINE))


@pytest.mark.parametrize("document", ["README.md", ".github/CONTRIBUTING.md", "vlltr_plugin/API.md"])
def test_links_to_files_and_headings_exist(document: str) -> None:
    for path, anchor in LINK.findall((ROOT / document).read_text("utf-8")):
        if not path.startswith("http"):
            target = (ROOT / document).parent / path if path else ROOT / document
            assert target.exists(), path
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8") if anchor else "", flags=re.MULTILINE)
            assert not anchor or anchor in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}


def table(text: str) -> dict[str, dict[str, float]]:
    """The rows of the worked example: name to accuracy by group."""
    rows = re.findall(r"^(\S.*?)  +(\d+\.\d) +(\d+\.\d) +(\d+\.\d) +(\d+\.\d)$", text, flags=re.MULTILINE)
    return {name: dict(zip(GROUPS, map(float, values), strict=True)) for name, *values in rows}


def test_own_data_runs_goes_on_and_prints_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="pip install scikit-learn")
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- own data -->")[2]
    code, shown = OWN_DATA.read_text("utf-8"), table(readme.partition("```text")[2].partition("```")[0])
    run(code, {"__name__": "__main__"}, OWN_DATA.name)
    found = table(capsys.readouterr().out)
    assert list(found) == list(shown) != []
    for name, groups in shown.items():  # another torch rounds otherwise
        assert found[name] == pytest.approx(groups, abs=4.0), name
    again = tmp_path / "runs" / "class volume" / "0"
    torch.save({**torch.load(again / "model.pt"), "epoch": 27}, again / "model.pt")
    run(code, {"__name__": "__main__"}, OWN_DATA.name)
    printed = capsys.readouterr().out
    assert printed.count("resumed the weights in force from epoch 30") == 17
    assert "resumed the weights in force from epoch 28" in printed
    assert table(printed)["cross entropy"] == found["cross entropy"]
