import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from vlltr_plugin.demo import make_standin
from vlltr_plugin.demo.standin_checkout import STANDIN


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Path:
    """The stand-in checkout as the demo unpacks it; not to be changed."""
    return make_standin(tmp_path_factory.mktemp("pristine") / "standin")


@pytest.fixture(scope="module")
def standin(pristine, tmp_path_factory) -> Path:
    """A checkout that runs here, like the host, only after the compat import; shared by the tests of a module."""
    checkout = tmp_path_factory.mktemp("runs") / "standin"
    shutil.copytree(pristine, checkout)
    main = checkout / "main.py"
    docstring, rest = main.read_text().split("\n\n", 1)
    main.write_text(f"{docstring}\n\nimport vlltr_plugin.compat\n{rest}")
    return checkout


@pytest.fixture
def load_module():
    """Load one file of the stand-in under a name of its own."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"standin_{name}", STANDIN / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
