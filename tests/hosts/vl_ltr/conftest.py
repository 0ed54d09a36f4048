import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from vlltr_plugin.demo import CLASS_VOLUME, make_standin, run_main
from vlltr_plugin.install import install


@pytest.fixture
def host_datasets(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The host's module with the evaluation transform, which here changes nothing."""
    module = types.ModuleType("datasets")
    module.build_transform = lambda is_train, args: lambda image: image
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in with the plug-in installed and no runs; not to be written to."""
    pytest.importorskip("sklearn")
    checkout = make_standin(tmp_path_factory.mktemp("check") / "standin")
    install(checkout)
    return checkout


@pytest.fixture(scope="session")
def trained(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after one epoch of class volume of one; not to be written to."""
    checkout = Path(shutil.copytree(installed, tmp_path_factory.mktemp("check_trained") / "standin"))
    run_main(checkout, CLASS_VOLUME, "--epochs", "1")
    return checkout


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    return lambda source: Path(shutil.copytree(source, tmp_path / "standin"))


@pytest.fixture
def checkout(installed: Path, copied: Callable[[Path], Path]) -> Path:
    return copied(installed)
