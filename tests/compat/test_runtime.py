"""torch, torchvision and numpy as the host expects them; with CUDA torch stays as it is."""

import argparse
import importlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

import vlltr_plugin.compat
from vlltr_plugin.compat.runtime import (
    accept_dashed_local_rank,
    load_safely_by_default,
    supply_numpy_bool,
    trust_argparse_namespace,
)


class Arbitrary:
    """Not a type that checkpoints may hold."""


def test_safe_loading_allows_namespace_only(tmp_path):
    trust_argparse_namespace()
    torch.save({"args": argparse.Namespace(lr=0.1)}, tmp_path / "good.pth")
    torch.save({"args": Arbitrary()}, tmp_path / "bad.pth")
    assert torch.load(tmp_path / "good.pth", weights_only=True)["args"].lr == 0.1
    with pytest.raises(Exception, match="Arbitrary"):
        torch.load(tmp_path / "bad.pth")


@pytest.mark.parametrize("version", ["2.4.1", "2.5.1+cpu"])
def test_before_torch_2_6_loading_is_made_safe_unless_the_caller_says_otherwise(monkeypatch, tmp_path, version):
    real = torch.load

    def load_of_then(f, map_location=None, pickle_module=None, *, weights_only=None, **options):
        return real(f, map_location, pickle_module, weights_only=bool(weights_only), **options)

    monkeypatch.setattr(torch, "__version__", type(torch.__version__)(version))
    monkeypatch.setattr(torch, "load", load_of_then)
    torch.save({"args": Arbitrary()}, tmp_path / "bad.pth")
    assert isinstance(torch.load(tmp_path / "bad.pth")["args"], Arbitrary)
    load_safely_by_default()
    load_safely_by_default()
    for options in ({"map_location": "cpu"}, {"weights_only": True}, {"weights_only": None}):
        with pytest.raises(Exception, match="Arbitrary"):
            torch.load(tmp_path / "bad.pth", **options)
    assert isinstance(torch.load(tmp_path / "bad.pth", "cpu", weights_only=False)["args"], Arbitrary)
    assert isinstance(torch.load(tmp_path / "bad.pth", pickle_module=pickle)["args"], Arbitrary)


def test_from_torch_2_6_on_loading_stays_as_it_is():
    assert torch.__version__ < "2.6" or not hasattr(torch.load, "wrapped_by_vlltr")


def test_numpy_bool_is_supplied_only_where_it_is_missing(monkeypatch):
    supply_numpy_bool()
    assert np.zeros(2, dtype=np.bool).dtype == np.bool_
    monkeypatch.delitem(vars(np), "bool")
    supply_numpy_bool()
    assert np.bool is np.bool_


@pytest.mark.parametrize(
    ("options", "given", "expected"),
    [
        ("'--local_rank'", ["--local-rank=1", "--port=8666"], ["--local_rank=1", "--port=8666"]),
        ("'--local_rank'", ["--local-rank", "1"], ["--local_rank", "1"]),
        ("'--local_rank'", ["--local_rank=1", "--local-ranks"], ["--local_rank=1", "--local-ranks"]),
        ("'--local_rank'", [], []),
        ("'--local_rank', '--local-rank'", ["--local-rank=1"], ["--local-rank=1"]),
    ],
)
def test_the_launcher_s_dash_becomes_an_underscore_unless_the_script_knows_it(
    monkeypatch, tmp_path, options, given, expected
):
    script = tmp_path / "main.py"
    script.write_text(f"parser.add_argument({options})")
    monkeypatch.setattr(sys, "argv", [str(script), *given])
    accept_dashed_local_rank()
    accept_dashed_local_rank()
    assert sys.argv == [str(script), *expected]


def test_importing_twice_changes_nothing_more():
    vlltr_plugin.compat.apply()  # an import hook of it goes when an earlier test imports the module that it waits for
    finders, modules = list(sys.meta_path), dict(sys.modules)
    importlib.reload(vlltr_plugin.compat)
    assert sys.meta_path == finders
    assert all(sys.modules[name] is module for name, module in modules.items())


SETUP = """
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel as DDP
names = lambda: (torch.cuda.synchronize, torch.cuda.set_device, dist.init_process_group, DDP.__init__)
before = names()
torch.cuda.is_available = lambda: {cuda}
import vlltr_plugin.compat
"""
PATCHED = """
torch.cuda.synchronize()
torch.cuda.set_device(1)
dist.init_process_group(backend="nccl", init_method="file://{folder}/meet", world_size=1, rank=0)
print(dist.get_backend())
model = DDP(torch.nn.Linear(2, 1), device_ids=[0])
model(torch.ones(1, 2)).sum().backward()
after = names()
vlltr_plugin.compat.apply()
print(after == names(), len(set(before) & set(after)))
dist.destroy_process_group()
"""
UNTOUCHED = """
import sys
from vlltr_plugin.compat.host_modules import _AfterImport
hooks = [finder for finder in sys.meta_path if isinstance(finder, _AfterImport)]
print(before == names(), [(hook.name, [patch.__name__ for patch in hook.patches]) for hook in hooks])
"""


def run(code, *paths):
    """Runs code in a process of its own, since the shims last as long as the process; returns the printed lines."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join([*map(str, paths), *filter(None, sys.path)])
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith("[Gloo]")]  # torch 2.8 reports its ranks


def test_cuda_calls_pass_and_nccl_becomes_gloo_without_cuda(tmp_path):
    assert run(SETUP.format(cuda=False) + PATCHED.format(folder=tmp_path)) == ["gloo", "True 0"]


def test_torch_stays_as_it_is_with_cuda():
    assert run(SETUP.format(cuda=True) + UNTOUCHED) == ["True [('utils', ['_save_whole_in'])]"]


ASKED = """
import os, torch
started = []
is_available, torch.cuda._device_count_nvml = torch.cuda.is_available, lambda: 0

def of_a_torch_with_cuda():
    torch._C._cuda_getDeviceCount = lambda: started.append(1) or 0
    found = is_available()
    del torch._C._cuda_getDeviceCount
    return found

torch.cuda.is_available = of_a_torch_with_cuda
before = dict(os.environ)
import vlltr_plugin.compat
print(started, dict(os.environ) == before)
"""


@pytest.mark.parametrize("set_by_user", ["", "os.environ['PYTORCH_NVML_BASED_CUDA_CHECK'] = '0'"])
def test_cuda_available_does_not_initialise_the_driver(set_by_user):
    assert run(f"import os\n{set_by_user}\n{ASKED}") == ["[] True"]


DECLARE = """
from vlltr_plugin.compat.runtime import _kept_alive, declare_missing_ops
declare_missing_ops()
import torchvision, gc, torch
gc.collect()
print(len(_kept_alive), torchvision.state)
"""
NEEDS_NMS = """
import torch
from . import part
if not hasattr(torch.ops.torchvision, "nms"):
    raise RuntimeError("operator torchvision::nms does not exist")
state = "complete"
"""


def declared(torchvision, folder):
    """Declares the operators in a process that sees a torchvision with this text and no timm."""
    (folder / "torchvision").mkdir(exist_ok=True)
    (folder / "torchvision" / "__init__.py").write_text(torchvision)
    (folder / "torchvision" / "part.py").write_text("")
    return run(f"import sys; sys.modules['timm'] = None\n{DECLARE}", folder)


def test_schemas_are_declared_when_needed_and_another_failure_is_not_hidden(tmp_path):
    assert declared(NEEDS_NMS, tmp_path) == ["1 complete"]
    assert declared("state = 'healthy'", tmp_path) == ["0 healthy"]
    with pytest.raises(AssertionError, match="RuntimeError: no disk"):
        declared("raise RuntimeError('no disk')", tmp_path)


def test_the_installed_torchvision_and_timm_import():
    pytest.importorskip("torchvision", exc_type=ImportError)
    import timm.models
    import torchvision.transforms

    assert torchvision.transforms.Resize
    assert timm.models.create_model
