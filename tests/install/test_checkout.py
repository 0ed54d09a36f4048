"""Install, uninstall and status on folders: nothing lost, all or nothing."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from vlltr_plugin import __version__
from vlltr_plugin.install import AnchorError, InstallError, State, files, install, status, uninstall

Make = Callable[..., Path]
Contents = Callable[[Path], dict[str, "bytes | None"]]
COPY = Path("configs") / "class_volume" / "one.py"


def test_install_then_uninstall_leaves_no_trace(make_checkout: Make, contents: Contents) -> None:
    root = make_checkout()
    before = contents(root)
    report = install(root)
    assert contents(root) != before
    assert "+    reweight_hook = " in report.host_diff
    assert report.copied == "configs/class_volume/: 2 added (copied configs)"
    uninstall(root)
    assert contents(root) == before


def test_repeating_changes_nothing(make_checkout: Make, contents: Contents) -> None:
    root = make_checkout()
    install(root)
    once = contents(root)
    assert install(root).changes == ()
    assert contents(root) == once
    uninstall(root)
    clean = contents(root)
    assert uninstall(root).changes == ()
    assert contents(root) == clean


def test_dry_run_shows_the_same_diff_and_writes_nothing(make_checkout: Make, contents: Contents) -> None:
    root = make_checkout()
    before = contents(root)
    planned = install(root, dry_run=True).host_diff
    assert contents(root) == before
    assert install(root).host_diff == planned
    before = contents(root)
    assert "-    reweight_hook = " in uninstall(root, dry_run=True).host_diff
    assert contents(root) == before


def test_a_path_with_spaces_and_letters_beyond_ascii_works(make_checkout: Make, contents: Contents) -> None:
    root = make_checkout(name="my runs, größer")
    before = contents(root)
    install(root)
    assert status(root).fits
    uninstall(root)
    assert contents(root) == before


@pytest.mark.parametrize("mode", [0o644, 0o755, 0o600])
def test_the_mode_of_main_is_kept(mode: int, make_checkout: Make) -> None:
    root = make_checkout()
    (root / "main.py").chmod(mode)
    install(root)
    assert stat.S_IMODE((root / "main.py").stat().st_mode) == mode
    uninstall(root)
    assert stat.S_IMODE((root / "main.py").stat().st_mode) == mode


def test_an_edited_config_and_a_foreign_one_are_kept_and_named(make_checkout: Make) -> None:
    root = make_checkout()
    install(root)
    with (root / COPY).open("a") as file:
        file.write("data = dict(seed=1)\n")
    (root / COPY).with_name("mine.py").write_text("x = dict()\n")
    kept = (root / COPY).read_bytes()
    assert any("one.py" in note and "edited" in note for note in install(root).notes)
    report = uninstall(root)
    assert (root / COPY).read_bytes() == kept
    assert sorted(path.name for path in (root / COPY).parent.iterdir()) == ["mine.py", "one.py"]
    assert any("one.py" in note for note in report.notes)
    assert any("mine.py" in note for note in report.notes)
    assert status(root).state is State.PARTIAL


def test_a_config_of_the_same_name_is_not_overwritten(make_checkout: Make) -> None:
    root = make_checkout()
    (root / COPY).parent.mkdir()
    (root / COPY).write_text("x = dict()\n")
    install(root)
    assert (root / COPY).read_text() == "x = dict()\n"


def test_install_upgrades_lines_and_untouched_configs_of_another_version(
    make_checkout: Make, supplied_configs: Path, monkeypatch: pytest.MonkeyPatch, contents: Contents
) -> None:
    root = make_checkout()
    before = contents(root)
    old = supplied_configs / "old.py"
    old.write_text("x = dict()\n")
    with monkeypatch.context() as patch:
        patch.setattr("vlltr_plugin.install.config_copies.__version__", "0.0.9")
        install(root)
    main = (root / "main.py").read_text()
    (root / "main.py").write_text(main.replace(f"vlltr-plugin {__version__}", "vlltr-plugin 0.0.9"))
    old.unlink()
    assert status(root).versions == ("0.0.9",)
    install(root)
    assert (root / "main.py").read_text() == main
    assert sorted(path.name for path in (root / COPY).parent.iterdir()) == ["one.py", "two.py"]
    assert status(root).fits
    assert not status(root).notes
    uninstall(root)
    assert contents(root) == before


def test_a_refused_host_is_left_alone(make_checkout: Make, contents: Contents) -> None:
    root = make_checkout("import os\n")
    before = contents(root)
    with pytest.raises(AnchorError, match=r"main\.py"):
        install(root)
    assert contents(root) == before


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="no folder"):
        install(tmp_path / "nowhere")
    with pytest.raises(InstallError, match=r"no main\.py"):
        install(tmp_path)
    (tmp_path / "main.py").mkdir()
    with pytest.raises(InstallError, match=r"no main\.py"):
        status(tmp_path)


@pytest.mark.parametrize("part", ["main.py", "configs", "configs/class_volume", "configs/class_volume/one.py"])
def test_a_symbolic_link_inside_is_refused_and_its_target_untouched(
    part: str, make_checkout: Make, tmp_path: Path, contents: Contents
) -> None:
    root, elsewhere = make_checkout(), tmp_path / "elsewhere"
    (root / COPY).parent.mkdir()
    (root / COPY).write_text("x = dict()\n")
    shutil.move(root / part, elsewhere)
    (root / part).symlink_to(elsewhere)
    before = contents(tmp_path)
    for operation in (install, uninstall):
        with pytest.raises(InstallError, match="symbolic link"):
            operation(root)
    assert contents(tmp_path) == before


def test_a_link_to_the_whole_checkout_is_followed(make_checkout: Make, tmp_path: Path) -> None:
    root = make_checkout()
    (tmp_path / "link").symlink_to(root)
    install(tmp_path / "link")
    assert status(root).fits


def test_a_read_only_main_is_refused_and_nothing_else_written(make_checkout: Make, contents: Contents) -> None:
    root = make_checkout()
    (root / "main.py").chmod(0o444)
    before = contents(root)
    with pytest.raises(InstallError, match="read-only"):
        install(root)
    assert contents(root) == before


OPERATIONS = [(os, "replace"), (os, "fsync"), (Path, "unlink"), (Path, "mkdir")]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("operation", [install, uninstall])
@pytest.mark.parametrize("failing_call", OPERATIONS)
def test_a_failure_at_any_file_operation_rolls_back(
    failing_call: tuple[object, str],
    operation: Callable[[Path], object],
    error: BaseException,
    make_checkout: Make,
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner, call = failing_call
    for at in range(12):
        root = make_checkout(name=f"checkout{at}")
        if operation is uninstall:
            install(root)
        before, left = contents(root), at
        real = getattr(owner, call)

        def failing(*args: object, _real: Callable[..., object] = real, **options: object) -> object:
            nonlocal left
            left -= 1
            if left == -1:
                raise error
            return _real(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(owner, call, failing)
            try:
                operation(root)
            except (InstallError, KeyboardInterrupt):
                patch.undo()
                assert contents(root) == before
            else:
                patch.undo()
                assert left >= 0
                assert status(root).fits is (operation is install)
                return
    pytest.fail("expected the operation to need fewer calls")


def test_a_file_that_changes_while_installing_is_not_overwritten(make_checkout: Make) -> None:
    root = make_checkout()
    plan = install(root, dry_run=True)
    (root / "main.py").write_text("mine = 1\n")
    with pytest.raises(InstallError, match="in the meantime"):
        files.apply(plan.changes)
    assert (root / "main.py").read_text() == "mine = 1\n"
    assert not (root / COPY).parent.exists()
