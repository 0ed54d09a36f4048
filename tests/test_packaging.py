"""What a wheel holds, that the sdist builds the same one, and that our own code starts without a warning."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from vlltr_plugin.cli import build_parser

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("vlltr_plugin", "patches", "configs", "setup.py", "pyproject.toml", "README.md", "LICENSE")
MODERN_SETUPTOOLS = "77"
"""pyproject.toml asks for it; `license_expression` is unknown to older ones."""

OF_HOSTS_AND_COMMANDS = ("torchvision", "timm", "open_clip", "ftfy", "regex", "tqdm", "rich", "tomli", "tomllib")
"""Packages that the core does not need."""

STRAY = ("patches/notes.txt", "vlltr_plugin/core/leftover.npz", "vlltr_plugin/runs/old.py.orig", "tests/conftest.py")
STRAY += ("vlltr_plugin/core/__pycache__/moments.cpython-310.pyc",)
"""Put into the source tree before the build; no wheel may hold them."""


def python(*arguments, **options):
    """What a Python process printed; it must end well."""
    ran = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, **options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout, ran.stderr


def build(kind, tree, out):
    """A `wheel` or an `sdist` of a source tree, from setuptools' own backend: needs no network."""
    out.mkdir()
    call = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    python("-c", call, out, cwd=tree)
    return next(out.iterdir())


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the sources: a build writes into its tree."""
    pytest.importorskip("setuptools", MODERN_SETUPTOOLS)  # pip install '.[test]'
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    for name in STRAY:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("stray\n", "utf-8")
    return copy


@pytest.fixture(scope="module")
def wheel_file(tree):
    return build("wheel", tree, tree / "built")


@pytest.fixture(scope="module")
def wheel(wheel_file):
    return contents(wheel_file)


@pytest.fixture(scope="module")
def sdist_file(tree, tmp_path_factory):
    return build("sdist", tree, tmp_path_factory.mktemp("sdist") / "built")


def expected_files(tree):
    """What belongs into the wheel, by its path there: every module, and the data that the package reads."""
    package = tree / "vlltr_plugin"
    inside = [*package.rglob("*.py"), *package.rglob("published.json"), package / "py.typed"]
    inside += [path for path in (package / "demo/standin").rglob("*") if path.is_file()]
    files = {str(path.relative_to(tree)): path for path in inside}
    for path in (*(tree / "configs").glob("*.py"), *(tree / "patches").glob("*.toml")):
        files[f"vlltr_plugin/{path.relative_to(tree)}"] = path
    return {name: path.read_bytes() for name, path in files.items()}


def test_the_wheel_holds_the_package_with_its_data_patches_and_configs_and_nothing_else(tree, wheel):
    found = {name: data for name, data in wheel.items() if ".dist-info/" not in name}
    expected = expected_files(tree)
    assert sorted(found) == sorted(expected)
    assert found == expected
    data = "cifar_lt/published.json", "hosts/vl_ltr/published.json", "demo/standin/main.py", "patches/vl_ltr.toml"
    assert {f"vlltr_plugin/{name}" for name in (*data, "configs/imagenet_lt_r50_dv.py")} <= found.keys()


def test_beside_the_package_the_wheel_holds_its_metadata_and_the_licence(tree, wheel):
    beside = {name.split(".dist-info/")[1]: data for name, data in wheel.items() if ".dist-info/" in name}
    names = ["METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"]
    assert sorted(beside) == names
    assert beside["licenses/LICENSE"] == (tree / "LICENSE").read_bytes()
    assert beside["top_level.txt"].split() == [b"vlltr_plugin"]


def test_the_sdist_builds_the_same_wheel(sdist_file, wheel, tmp_path):
    with tarfile.open(sdist_file) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    unpacked = next((tmp_path / "unpacked").iterdir())
    again = contents(build("wheel", unpacked, tmp_path / "again"))
    assert sorted(again) == sorted(wheel)
    assert [name for name in wheel if again[name] != wheel[name]] == []


@pytest.mark.parametrize(("tool", "options"), [("twine", ["check", "--strict"]), ("check_wheel_contents", [])])
def test_twine_accepts_wheel_and_sdist_and_check_wheel_contents_the_wheel(tool, options, wheel_file, sdist_file):
    pytest.importorskip(tool, reason=f"pip install {tool}")
    files = [wheel_file, sdist_file] if tool == "twine" else [wheel_file]
    printed, _ = python("-m", tool, *options, *files)
    assert tool != "twine" or printed.count("PASSED") == 2, printed


def test_readmes_first_block_runs_from_the_installed_wheel_in_an_empty_folder(wheel_file, tmp_path):
    """Of this environment it has torch and numpy alone."""
    pytest.importorskip("pip", reason="this environment has no pip")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel_file, cwd=empty)
    block = (ROOT / "README.md").read_text("utf-8").partition("```python\n")[2].partition("```")[0]
    without = f"import sys\nsys.modules.update(dict.fromkeys({OF_HOSTS_AND_COMMANDS}))\n"
    after = "import vlltr_plugin\nprint(vlltr_plugin.__file__)\n"
    (empty / "loop.py").write_text(f"{without}{block}\n{after}", "utf-8")
    printed, _ = python("loop.py", cwd=empty, env={**os.environ, "PYTHONPATH": str(site)})
    *epochs, home = printed.strip().splitlines()
    assert [line.split()[0] for line in epochs] == ["0", "1", "2"]
    assert Path(home).is_relative_to(site)


def test_our_own_code_compiles_and_starts_without_a_warning_and_every_command_has_its_help():
    """One process: `--help` ends in SystemExit, so all of them fit into it.

    Invalid escapes and `is` with a literal warn when a module is first compiled, hidden by a cache later.
    """
    code = """
import contextlib, io, pathlib, sys
import vlltr_plugin
from vlltr_plugin.cli import main
for folder in ("vlltr_plugin", "configs"):
    for path in pathlib.Path(folder).rglob("*.py"):
        compile(path.read_bytes(), path, "exec")
for command in sys.argv[1:]:
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            main([command, "--help"])
    except SystemExit as end:
        assert end.code == 0, (command, end.code)
    assert f"vlltr-plugin {command}" in out.getvalue(), out.getvalue()
"""
    known = next(action.choices for action in build_parser()._actions if action.choices)
    assert {"install", "uninstall", "status", "demo", "compare", "evaluate", "inspect", "check", "cifar-lt"} <= {*known}
    printed = python("-W", "error", "-c", code, *known, cwd=ROOT)
    assert printed == ("", "")
