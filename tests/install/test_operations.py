"""Install and uninstall on folders: nothing lost, all or nothing; also beside work in progress, and traps."""

import contextlib
import itertools
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from install.small_hosts import contents, rewrite, write_files

from vlltr_plugin import __version__
from vlltr_plugin.install import InstallError, State, files, install, status, uninstall

COPY = Path("configs") / "class_volume" / "one.py"
NOW = f"# vlltr-plugin {__version__}"


@pytest.mark.parametrize("name", ["checkout", "my runs, größer"])
def test_a_dry_run_writes_nothing_the_rest_leaves_no_trace_and_repeating_changes_nothing(name, make_checkout):
    root = make_checkout(name=name)
    before = contents(root)
    planned = install(root, dry_run=True)
    assert contents(root) == before
    assert "install would fit" in str(status(root))
    assert install(root) == planned
    installed = contents(root)
    assert status(root).fits
    assert planned.host_diff.count("\n+ ") == 5  # and one at the left margin
    assert install(root).changes == ()
    assert "-    reweight_hook = " in uninstall(root, dry_run=True).host_diff
    assert contents(root) == installed
    uninstall(root)
    assert uninstall(root).changes == ()
    assert contents(root) == before


@pytest.mark.parametrize("mode", [0o644, 0o755, 0o600])
def test_the_mode_of_main_is_kept_and_a_hard_link_to_it_keeps_the_old_content(mode, make_checkout, tmp_path):
    root = make_checkout()
    (root / "main.py").chmod(mode)
    before = (root / "main.py").read_bytes()
    (tmp_path / "snapshot.py").hardlink_to(root / "main.py")
    for operation in (install, uninstall):
        operation(root)
        assert stat.S_IMODE((root / "main.py").stat().st_mode) == mode
        assert (tmp_path / "snapshot.py").read_bytes() == before


def test_configs_that_are_edited_foreign_lost_or_there_before_are_kept_and_named(make_checkout):
    root, mine = make_checkout(), "x = dict()\n"
    one, two = root / COPY, root / COPY.with_name("two.py")
    write_files(root, {str(COPY): mine})
    assert "one.py: file of yours" in "".join(install(root).notes)
    assert one.read_text() == mine
    two.write_text(two.read_text() + "data = dict(seed=1)\n")
    kept = two.read_bytes()
    one.rename(one.with_name("mine.py"))
    said = str(status(root))
    assert "class_volume/one.py: missing" in said
    assert "class_volume/two.py: edited copy" in said
    assert "two.py: edited copy" in "".join(install(root).notes)
    notes = "".join(uninstall(root).notes)
    assert "two.py: edited copy" in notes
    assert "mine.py: file of yours" in notes
    assert contents(one.parent) == {"mine.py": mine.encode(), "two.py": kept}
    assert status(root).state is State.PARTIAL


@pytest.mark.parametrize("versions", [("0.0.1",), ("9.9.9",), ("0.0.1", "9.9.9"), ("0.0.1", __version__)])
def test_lines_and_configs_of_any_versions_are_brought_up_to_this_one(versions, make_checkout, supplied_configs):
    root = make_checkout()
    clean = contents(root)
    (supplied_configs / "old.py").write_text("x = dict()\n")
    install(root)
    (supplied_configs / "old.py").unlink()
    for config in (root / COPY).parent.iterdir():
        rewrite(config, (NOW, "# vlltr-plugin 0.0.9"))
    stated = itertools.cycle(versions)
    text = re.sub(re.escape(NOW), lambda _: f"# vlltr-plugin {next(stated)}", (root / "main.py").read_text())
    begin = next(line for line in text.splitlines(keepends=True) if "begin_epoch" in line)
    text = text.replace(begin, begin + begin.replace("begin_epoch", "look_ahead"))  # this version has no such line
    (root / "main.py").write_text(text)
    found = status(root)
    assert set(versions) <= set(found.versions)
    assert any("is not a line of this version" in problem for problem in found.problems)
    install(root)
    assert sorted(path.name for path in (root / COPY).parent.iterdir()) == ["one.py", "two.py"]
    found = status(root)
    assert (found.versions, found.fits, found.notes) == ((__version__,), True, ())
    (root / "main.py").write_text(text)
    uninstall(root)
    assert contents(root) == clean


def test_a_path_that_is_not_a_checkout_is_refused(tmp_path):
    for path, reason in ((tmp_path / "nowhere", "no folder"), (tmp_path, r"no main\.py")):
        with pytest.raises(InstallError, match=reason):
            install(path)
    (tmp_path / "main.py").mkdir()
    with pytest.raises(InstallError, match=r"no main\.py"):
        status(tmp_path)


LINKS = [
    *(("make_checkout", part) for part in ("main.py", "configs", "configs/class_volume", COPY.as_posix())),
    *(("make_lift", part) for part in ("trainer.py", "utils/config.py", "utils")),
]


@pytest.mark.parametrize(("host", "part"), LINKS)
def test_a_symbolic_link_inside_is_refused_and_its_target_untouched(host, part, request, tmp_path):
    root, elsewhere = request.getfixturevalue(host)(), tmp_path / "elsewhere"
    write_files(root, {str(COPY): "x = dict()\n"})
    shutil.move(root / part, elsewhere)
    (root / part).symlink_to(elsewhere)
    before = contents(tmp_path)
    for operation in (install, uninstall, status):
        with pytest.raises(InstallError, match="symbolic link"):
            operation(root)
    assert contents(tmp_path) == before


OPERATIONS = [(os, "replace"), (os, "fsync"), (Path, "unlink"), (Path, "mkdir")]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("operation", [install, uninstall])
@pytest.mark.parametrize("failing_call", OPERATIONS)
def test_a_failure_at_any_file_operation_rolls_back(failing_call, operation, error, make_checkout, monkeypatch):
    owner, call = failing_call
    for at in range(12):
        root = make_checkout(name=f"checkout{at}")
        if operation is uninstall:
            install(root)
        before, left, real = contents(root), at, getattr(owner, call)

        def failing(*args, _real=real, **options):
            nonlocal left
            left -= 1
            if left == -1:
                raise error
            return _real(*args, **options)

        with monkeypatch.context() as patch, contextlib.suppress(InstallError, KeyboardInterrupt):
            patch.setattr(owner, call, failing)
            operation(root)
        if left >= 0:
            assert status(root).fits is (operation is install)
            return
        assert contents(root) == before
    pytest.fail("expected the operation to need fewer calls")


def test_a_file_that_changes_while_installing_is_not_overwritten(make_checkout):
    root = make_checkout()
    plan = install(root, dry_run=True)
    (root / "main.py").write_text("mine = 1\n")
    with pytest.raises(InstallError, match="in the meantime"):
        files.apply(plan.changes)
    assert (root / "main.py").read_text() == "mine = 1\n"
    assert not (root / COPY).parent.exists()


@pytest.mark.parametrize("way", ["{0}/configs/..", "{0}/../checkout", "{0}/.", "{0}/configs/own/../..", "{0}/../link"])
def test_a_path_with_dots_or_a_link_changes_that_checkout_and_nothing_beside_it(way, make_checkout, tmp_path):
    root = make_checkout()
    (tmp_path / "link").symlink_to(root)
    beside = make_checkout(name="beside")
    before = contents(beside), set(tmp_path.iterdir())
    install(way.format(root))
    assert status(root).fits
    assert (contents(beside), set(tmp_path.iterdir())) == before


@pytest.mark.parametrize("trap", [".main.py.vlltr-tmp", "configs/class_volume/.one.py.vlltr-tmp"])
def test_a_link_under_a_temporary_name_is_not_written_through(trap, make_checkout, tmp_path):
    root, outside = make_checkout(), tmp_path / "outside.txt"
    outside.write_text("mine")
    (root / trap).parent.mkdir(exist_ok=True)
    (root / trap).symlink_to(outside)
    assert any("interrupted" in problem for problem in status(root).problems)
    install(root)
    assert outside.read_text() == "mine"
    assert status(root).fits


@pytest.mark.parametrize(("name", "fits"), [("mine.py", True), ("one.py", False)])
def test_a_folder_named_like_a_config_stays_or_is_refused_in_the_place_of_one(name, fits, make_checkout):
    root = make_checkout()
    (root / COPY).with_name(name).mkdir(parents=True)
    before = contents(root)
    if fits:
        install(root)
        assert status(root).fits
        uninstall(root)
    else:
        with pytest.raises(InstallError, match=r"one\.py"):
            install(root)
    assert contents(root) == before


def git(root, *arguments):
    """Runs git without the user's settings."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=false", "-c", "commit.gpgsign=false"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_uncommitted_changes_are_kept_as_they_are(make_checkout):
    root, main = make_checkout(), "main.py"
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "all")
    (root / main).write_text((root / main).read_text().replace("import json\n", "import json  # staged\n"))
    git(root, "add", main)
    (root / main).write_text((root / main).read_text().replace("log = []", "log = list()  # not staged"))
    (root / "new.py").write_text("mine = 1\n")

    def seen():
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
