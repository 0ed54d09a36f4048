"""Every Python block of the documents runs as written, those of a document one after the other."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "configs/README.md",
    "vlltr_plugin/core/README.md",
    "vlltr_plugin/integrations/README.md",
)
BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
IMPORTS = re.compile(r"^(?:import|from) (\w+)", flags=re.MULTILINE)
GROUPS = ("many", "medium", "few")


def blocks_of(document: str) -> list[str]:
    return BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))


def run(code: str, names: dict, document: str) -> None:
    exec(compile(code, document, "exec"), names)


def whose_packages_are_here(code: str) -> bool:
    return all(importlib.util.find_spec(name) for name in IMPORTS.findall(code))


@pytest.mark.parametrize("document", DOCUMENTS[1:])
def test_blocks_run_in_order(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    left_out = []
    for code in blocks_of(document):
        if whose_packages_are_here(code):
            run(code, names, document)
        else:
            left_out.append(code.splitlines()[0])
    if left_out:
        pytest.skip(f"the others ran; not installed: {', '.join(left_out)}")


@pytest.mark.parametrize(
    "code", [code for code in blocks_of("README.md") if "range(3):" in code and "x[test]" not in code]
)
def test_example_runs_and_re_weights(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(code, {"__name__": "__main__"}, "README.md")
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]
    assert len(set(lines[-1].split("[")[1].split(","))) == 3


def table(text: str) -> dict[str, dict[str, float]]:
    """The rows of the worked example: name to accuracy by group."""
    rows = re.findall(r"^(\S.*?)  +(\d+\.\d) +(\d+\.\d) +(\d+\.\d)$", text, flags=re.MULTILINE)
    return {name: dict(zip(GROUPS, map(float, values), strict=True)) for name, *values in rows}


def test_own_data_runs_goes_on_and_prints_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="pip install scikit-learn")
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- own data -->")[2]
    code, shown = BLOCK.search(readme)[1], table(readme.partition("```text")[2].partition("```")[0])
    run(code, {"__name__": "__main__"}, "README.md")
    found = table(capsys.readouterr().out)
    assert list(found) == list(shown) != []
    for name, groups in shown.items():  # another torch rounds otherwise
        assert found[name] == pytest.approx(groups, abs=4.0), name
    again = tmp_path / "runs" / "class volume" / "0"
    torch.save({**torch.load(again / "model.pt"), "epoch": 27}, again / "model.pt")
    run(code, {"__name__": "__main__"}, "README.md")
    printed = capsys.readouterr().out
    assert printed.count("resumed the weights in force from epoch 30") == 17
    assert "resumed the weights in force from epoch 28" in printed
    assert table(printed)["cross entropy"] == found["cross entropy"]
