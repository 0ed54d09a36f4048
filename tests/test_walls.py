"""The walls of the house: which folder imports which, and where a host's words stand.

`python tests/test_walls.py` prints the imports, folder by folder.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vlltr_plugin"
OPEN = {"errors", "resources"}
"""Modules at the top that everybody may import; they import nobody."""

MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "runs": {"core"},
    "training": {"core", "runs"},
    "install": set(),
    "check": {"core", "runs", "training"},
    "compat": {"runs"},
    "hosts": {"core", "runs", "training", "install", "check", "compat"},
    "report": {"core", "runs", "training", "install", "check", "compat", "hosts"},
    "integrations": {"core", "runs", "training"},
    "cifar_lt": {"core", "runs", "training", "compat", "report"},
    "demo": {"core", "runs", "install", "hosts", "report"},
    "cli": {"install", "check", "hosts", "report", "cifar_lt", "demo"},
    "__init__": {"public"},
    "public": {"core", "hosts", "training"},
    "__main__": {"cli"},
    "errors": set(),
    "resources": set(),
}
"""What each folder may know of the others, imports inside functions too."""

WORDS = {
    "hosts/": r"main\.py|loss_type",
    "hosts/vl_ltr/": r"VL-LTR|vl[-_]ltr|image[-_ ]text|two[-_]branch|\bLGR|test_(?:acc|low|median|many)|cvlp|train\.log"
    r"|desc_path|n_parameters|DistillationLoss|evaluate_LT|weight_sample|mmcv|INAT|softCE",
    "hosts/timm_train/": r"train_loss_fn|train\.py|summary\.csv|args\.yaml|jsd|RepeatAugSampler|ScheduledBatch|naflex",
    "hosts/lift/": r"\bLIFT|\blift\b|\bPEL\b|yacs|cls_num_list|num_epochs|trainer\.py|ClassAwareSampler",
}
"""Words of hosts, by where they belong."""

HAVE_HOSTS_WORDS = ("compat", "demo")
"""Folders that are of VL-LTR alone: what it misses on a current stack, and its stand-in."""

ALLOWED = {
    ("__init__.py", "VL-LTR"): "the package's first sentence",
    ("__init__.py", "LIFT"): "the package's first sentence",
    ("public.py", "vl_ltr"): "`attach`, the public name in the inserted lines, comes from there",
    ("hosts/__init__.py", "vl-ltr"): "the registry: one line a host",
    ("hosts/__init__.py", "vl_ltr"): "the registry",
    ("hosts/__init__.py", "lift"): "the registry",
    ("report/evaluate/logits_file.py", "two_branch"): "key of evaluation.json, fixed",
    ("hosts/evaluation.py", "two_branch"): "as above",
    ("hosts/own_loop.py", "test_acc"): "key of report.json, fixed",
    ("hosts/own_loop.py", "test_many"): "as above",
    ("hosts/own_loop.py", "test_median"): "as above",
    ("hosts/own_loop.py", "test_low"): "as above",
    ("integrations/huggingface.py", "loss_type"): "an attribute of transformers' models, too",
}
"""(file, word): why it must stay."""


def files() -> Iterator[tuple[str, str]]:
    """Every module's path inside the package, and its text."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), path.read_text("utf-8")


def folder_of(path: str) -> str:
    """The folder at the top that a file is in; a file at the top by its own name."""
    return path.split("/")[0].removesuffix(".py")


def imported(text: str) -> set[str]:
    """The modules of ours that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("vlltr_plugin.")}


def without_help(text: str) -> str:
    """A file's text, what its commands say on the terminal blanked out."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.keyword) and node.arg in ("help", "description"):
            for number in range(node.value.lineno - 1, node.value.end_lineno or node.value.lineno):
                lines[number] = ""
    return "\n".join(lines)


def strange_words(path: str, text: str) -> set[str]:
    """A host's words in a file outside its folder."""
    if path.startswith(HAVE_HOSTS_WORDS):
        return set()
    others = [words for home, words in WORDS.items() if not path.startswith(home)]
    return {match[0] for words in others for match in re.finditer(words, without_help(text))}


def imports_of(folder: str) -> dict[str, set[str]]:
    """By file of a folder, the other folders that it imports."""
    texts = {path: text for path, text in files() if folder_of(path) == folder}
    inside = OPEN | {folder, "__version__"}
    return {path: {name.split(".")[1] for name in imported(text)} - inside for path, text in texts.items()}


@pytest.mark.parametrize("folder", sorted({folder_of(path) for path, _ in files()}))
def test_a_folder_imports_only_allowed_folders(folder: str) -> None:
    wrong = {path: found - MAY_IMPORT[folder] for path, found in imports_of(folder).items()}
    assert {path: sorted(found) for path, found in wrong.items() if found} == {}


def test_a_host_imports_no_other_host() -> None:
    homes = {path.parent.name for path in PACKAGE.glob("hosts/*/host.py")}
    assert homes >= {"vl_ltr", "lift", "timm_train"}
    for path, text in files():
        own = path.split("/")[1] if path.startswith("hosts/") else ""
        if own in homes:
            others = tuple(f"vlltr_plugin.hosts.{other}" for other in homes - {own})
            assert not [name for name in imported(text) if name.startswith(others)], path


def test_only_the_demo_and_the_top_name_a_host_to_import() -> None:
    host = re.compile(r"vlltr_plugin\.hosts\.(vl_ltr|lift|timm_train)")
    naming = {path for path, text in files() if any(map(host.match, imported(text)))}
    assert {folder_of(path) for path in naming} == {"hosts", "demo", "public"}


def test_no_word_of_a_host_outside_its_folder() -> None:
    found = {(path, word) for path, text in files() for word in strange_words(path, text)}
    assert found - set(ALLOWED) == set()
    assert set(ALLOWED) - found == set(), "no longer there: take it out of the list"


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("core/a.py", "x = 'test_acc1'  # of VL-LTR\n", {"test_acc", "VL-LTR"}),
        ("training/a.py", "def f():\n    '''LIFT, by its loss_type.'''\n", {"LIFT", "loss_type"}),
        ("hosts/lift/a.py", "loss_type = 'mmcv'\n", {"mmcv"}),
        ("hosts/vl_ltr/a.py", "two_branch = VL_LTR\n", set()),
        ("report/a.py", "add('--x', help='as VL-LTR draws')\n", set()),
    ],
)
def test_the_words_are_found(path: str, text: str, words: set[str]) -> None:
    assert strange_words(path, text) == words


def test_an_import_inside_a_function_counts() -> None:
    names = imported("def f():\n    from vlltr_plugin.report import tables\n")
    assert names == {"vlltr_plugin.report", "vlltr_plugin.report.tables"}


if __name__ == "__main__":
    for folder in MAY_IMPORT:
        print(f"{folder:<12} -> {' '.join(sorted(set().union(*imports_of(folder).values()))) or '-'}")
