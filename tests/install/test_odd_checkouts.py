"""Checkouts with work in progress, with lines of other versions, and with traps beside their main.py."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vlltr_plugin import __version__
from vlltr_plugin.install import InstallError, install, status, uninstall

Make = Callable[..., Path]
Contents = Callable[[Path], "dict[str, bytes | None]"]
NOW = f"# vlltr-plugin {__version__}"


def git(root: Path, *arguments: str) -> str:
    """Runs git without the user's settings."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=false", "-c", "commit.gpgsign=false"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_uncommitted_changes_are_kept_as_they_are(make_checkout: Make, contents: Contents) -> None:
    root, main = make_checkout(), "main.py"
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "all")
    (root / main).write_text((root / main).read_text().replace("import json\n", "import json  # staged\n"))
    git(root, "add", main)
    (root / main).write_text((root / main).read_text().replace("log = []", "log = list()  # not staged"))
    (root / "new.py").write_text("mine = 1\n")

    def seen() -> list[str]:
        return [git(root, "status", "--porcelain"), git(root, "diff"), git(root, "diff", "--cached")]

    before, files = seen(), contents(root / "configs")
    assert all(before)
    install(root)
    assert git(root, "diff", "--cached") == before[2]
    assert git(root, "diff", "--numstat").split()[:3] == ["7", "1", main]  # ours, and the user's one line
    assert status(root).fits
    uninstall(root)
    assert seen() == before
    assert contents(root / "configs") == files


@pytest.mark.parametrize("versions", [("0.0.1",), ("9.9.9",), ("0.0.1", "9.9.9"), ("0.0.1", __version__)])
def test_lines_of_any_versions_are_brought_up_to_this_one(
    versions: tuple[str, ...], make_checkout: Make, contents: Contents
) -> None:
    root = make_checkout()
    clean = contents(root)
    install(root)
    installed = contents(root)
    lines = (root / "main.py").read_text().splitlines(keepends=True)
    for number, at in enumerate(index for index, line in enumerate(lines) if NOW in line):
        lines[at] = lines[at].replace(NOW, f"# vlltr-plugin {versions[number % len(versions)]}")
    begin = next(index for index, line in enumerate(lines) if "begin_epoch" in line)
    unknown = lines[begin].split("#")[0].replace("begin_epoch", "look_ahead")  # this version has no such line
    lines.insert(begin + 2, f"{unknown}{NOW}\n")
    (root / "main.py").write_text("".join(lines))
    found = status(root)
    assert set(versions) <= set(found.versions)
    assert not found.fits
    assert any("is not a line of this version" in problem for problem in found.problems)
    install(root)
    assert contents(root) == installed
    (root / "main.py").write_text("".join(lines))
    uninstall(root)
    assert contents(root) == clean


@pytest.mark.parametrize("way", ["{0}/configs/..", "{0}/../checkout", "{0}/.", "{0}/configs/own/../.."])
def test_a_path_with_dots_changes_that_checkout_and_nothing_beside_it(
    way: str, make_checkout: Make, tmp_path: Path, contents: Contents
) -> None:
    root = make_checkout()
    make_checkout(name="beside")
    before = {name: data for name, data in contents(tmp_path).items() if not name.startswith("checkout/")}
    install(way.format(root))
    assert status(root).fits
    assert {name: data for name, data in contents(tmp_path).items() if not name.startswith("checkout/")} == before


@pytest.mark.parametrize("trap", [".main.py.vlltr-tmp", "configs/class_volume/.one.py.vlltr-tmp"])
def test_a_link_under_a_temporary_name_is_not_written_through(trap: str, make_checkout: Make, tmp_path: Path) -> None:
    root, outside = make_checkout(), tmp_path / "outside.txt"
    outside.write_text("mine")
    (root / trap).parent.mkdir(exist_ok=True)
    (root / trap).symlink_to(outside)
    assert any("interrupted" in problem for problem in status(root).problems)
    install(root)
    assert outside.read_text() == "mine"
    assert status(root).fits


def test_a_second_name_of_main_elsewhere_keeps_the_old_content(make_checkout: Make, tmp_path: Path) -> None:
    root = make_checkout()
    (tmp_path / "snapshot.py").hardlink_to(root / "main.py")
    before = (tmp_path / "snapshot.py").read_bytes()
    install(root)
    assert (tmp_path / "snapshot.py").read_bytes() == before


def test_a_folder_named_like_a_config_is_left_alone(make_checkout: Make, contents: Contents) -> None:
    root = make_checkout()
    (root / "configs" / "class_volume" / "mine.py").mkdir(parents=True)
    before = contents(root)
    install(root)
    assert status(root).fits
    uninstall(root)
    assert contents(root) == before


def test_a_folder_in_the_place_of_a_config_is_refused_and_nothing_changes(
    make_checkout: Make, contents: Contents
) -> None:
    root = make_checkout()
    (root / "configs" / "class_volume" / "one.py").mkdir(parents=True)
    before = contents(root)
    with pytest.raises(InstallError, match=r"one\.py"):
        install(root)
    assert contents(root) == before
