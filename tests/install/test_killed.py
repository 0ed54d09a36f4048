"""kill -9 at every change of the file system: each file is old or new, `status` says which, a second try finishes."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from install.small_hosts import contents

from vlltr_plugin import __version__
from vlltr_plugin.install import State, install, status, uninstall

CALL = "install.killed_operation:main"
NOBODY = 65534


def visible(found):
    """The files that are not temporary."""
    return {name: data for name, data in found.items() if data is not None and not name.endswith(".vlltr-tmp")}


def prepare(kind, make):
    """A checkout to be killed in, and the operation."""
    root = make(name=kind)
    if kind != "install":
        install(root)
    if kind == "upgrade":
        for path in [*root.glob("*.py"), *root.glob("*/config.py"), *root.glob("configs/class_volume/one.py")]:
            path.write_text(path.read_text().replace(f"vlltr-plugin {__version__}", "vlltr-plugin 0.0.9"))
    return root, "uninstall" if kind == "uninstall" else "install"


@pytest.mark.parametrize("kind", ["install", "uninstall", "upgrade"])
@pytest.mark.parametrize("host", ["make_checkout", "make_lift"])
def test_killed_at_every_change_of_the_file_system(kind, host, request, supplied_configs, nursery):
    root, operation = prepare(kind, request.getfixturevalue(host))
    kept, before, state_before = shutil.copytree(root, root.with_name("kept")), contents(root), status(root).state
    again, back = (install, uninstall) if operation == "install" else (uninstall, install)
    again(root)
    after, state_after, as_before = contents(root), status(root).state, 0
    for k in range(100):
        shutil.rmtree(root)
        shutil.copytree(kept, root)
        tried = nursery.start(Path(__file__).parent, operation, str(root), str(supplied_configs), k, call=CALL)
        if tried.wait() == 0:
            break
        assert tried.status == -9, tried.printed()
        left, found = visible(contents(root)), status(root)
        assert left.items() <= before.items() | after.items()  # each file is the old or the new one
        if left == visible(before):
            as_before += 1
            assert found.state is state_before
        elif left == visible(after):
            assert found.state is state_after
        else:
            assert kind == "upgrade" or found.state is State.PARTIAL
            assert any("interrupted" in problem for problem in found.problems)
        refuse_silent_baselines(root, left)
        for finish in (again, back, again):
            finish(root)
            assert finish is back or contents(root) == after
    assert contents(root) == after
    assert int(tried.printed()) == k
    assert as_before >= 5


def refuse_silent_baselines(root, left):
    """A config or the node that takes `reweight.type` is never there without the hook: it would train a baseline."""
    asks = any(path.is_file() for path in (root / "configs" / "class_volume").glob("*.py"))
    asks |= b"_C.reweight" in left.get("utils/config.py", b"")
    assert not asks or b"reweight_hook" in left.get("trainer.py", left["main.py"])


@pytest.mark.parametrize("part", [".", "configs", "main.py"])
def test_without_write_permission_nothing_changes(part, make_checkout, supplied_configs, nursery):
    with tempfile.TemporaryDirectory() as folder:  # unlike pytest's one that another user can reach
        os.chmod(folder, 0o755)
        configs = shutil.copytree(supplied_configs, Path(folder) / "supplied")
        configs.chmod(0o755)
        root = shutil.copytree(make_checkout(), Path(folder) / "checkout")
        (root / part).chmod(0o555 if (root / part).is_dir() else 0o444)
        user = NOBODY if os.getuid() == 0 else 0
        for path in (root, *root.rglob("*")) if user else ():
            os.chown(path, user, user)
        before = contents(root)
        tried = nursery.start(Path(__file__).parent, "install", str(root), str(configs), 1000, user, call=CALL)
        assert tried.wait() == 1
        assert "InstallError" in tried.printed()
        assert "read-only" in tried.printed() if part == "main.py" else "Permission denied" in tried.printed()
        assert contents(root) == before
        for path in (root, *root.rglob("*")):
            path.chmod(0o755)
