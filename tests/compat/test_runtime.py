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

from vlltr_plugin import compat
from vlltr_plugin.compat import runtime


class Arbitrary:
    """Not a type that checkpoints may hold."""


def test_safe_loading_allows_namespace_only(tmp_path):
    runtime.trust_argparse_namespace()
    torch.save({"args": argparse.Namespace(lr=0.1)}, tmp_path / "good.pth")
    torch.save({"args": Arbitrary()}, tmp_path / "bad.pth")
    assert torch.load(tmp_path / "good.pth", weights_only=True)["args"].lr == 0.1
    assert torch.__version__ < "2.6" or not hasattr(torch.load, "wrapped_by_vlltr")
    with pytest.raises(Exception, match="Arbitrary"):
        torch.load(tmp_path / "bad.pth")


@pytest.mark.parametrize("version", ["2.4.1", "2.5.1+cpu"])
def test_before_torch_2_6_loading_is_made_safe_unless_the_caller_says_otherwise(monkeypatch, tmp_path, version):
    real = torch.load

    def load_of_then(f, map_location=None, pickle_module=None, *, weights_only=None, **options):
        return real(f, map_location, pickle_module, weights_only=bool(weights_only), **options)

    monkeypatch.setattr(torch, "__version__", type(torch.__version__)(version))
    monkeypatch.setattr(torch, "load", load_of_then)
    bad = tmp_path / "bad.pth"
    torch.save(Arbitrary(), bad)
    assert isinstance(torch.load(bad), Arbitrary)
    runtime.load_safely_by_default()
    runtime.load_safely_by_default()
    for options in ({"map_location": "cpu"}, {"weights_only": True}, {"weights_only": None}):
        with pytest.raises(Exception, match="Arbitrary"):
            torch.load(bad, **options)
    assert isinstance(torch.load(bad, "cpu", weights_only=False), Arbitrary)
    assert isinstance(torch.load(bad, pickle_module=pickle), Arbitrary)


def test_numpy_bool_is_supplied_only_where_it_is_missing(monkeypatch):
    runtime.supply_numpy_bool()
    assert np.zeros(2, dtype=np.bool).dtype == np.bool_
    monkeypatch.delitem(vars(np), "bool")
    runtime.supply_numpy_bool()
    assert np.bool is np.bool_


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--local-rank=1", "--port=8666"], ["--local_rank=1", "--port=8666"]),
        (["--local-rank", "1"], ["--local_rank", "1"]),
        (["--local_rank=1", "--local-ranks"], ["--local_rank=1", "--local-ranks"]),
        ([], []),
    ],
)
def test_the_launcher_s_dash_becomes_an_underscore_unless_the_script_knows_it(monkeypatch, tmp_path, given, expected):
    script = tmp_path / "main.py"
    for known, after in (("'--local_rank'", expected), ("'--local_rank', '--local-rank'", given)):
        script.write_text(f"parser.add_argument({known})")
        monkeypatch.setattr(sys, "argv", [str(script), *given])
        runtime.accept_dashed_local_rank()
        runtime.accept_dashed_local_rank()
        assert sys.argv == [str(script), *after]


def test_importing_twice_changes_nothing_more():
    compat.apply()  # an import hook of it goes when an earlier test imports the module that it waits for
    finders, modules = list(sys.meta_path), dict(sys.modules)
    importlib.reload(compat)
    assert sys.meta_path == finders
    assert all(sys.modules[name] is module for name, module in modules.items())


def run(code, *paths):
    """Runs code in a process of its own, since the shims last as long as the process; returns the printed lines."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join([*map(str, paths), *filter(None, sys.path)])
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith("[Gloo]")]  # torch 2.8 reports its ranks


SETUP = """
import sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel as DDP
names = lambda: (torch.cuda.synchronize, torch.cuda.set_device, dist.init_process_group, DDP.__init__)
before = names()
torch.cuda.is_available = lambda: {cuda}
import vlltr_plugin.compat
"""
WITH_CUDA = """
from vlltr_plugin.compat.host_modules import _AfterImport
hooks = [finder for finder in sys.meta_path if isinstance(finder, _AfterImport)]
print(before == names(), [(hook.name, [patch.__name__ for patch in hook.patches]) for hook in hooks])
"""
WITHOUT_CUDA = """
torch.cuda.synchronize()
torch.cuda.set_device(1)
dist.init_process_group(backend="nccl", init_method="file://{folder}/meet", world_size=1, rank=0)
model = DDP(torch.nn.Linear(2, 1), device_ids=[0])
model(torch.ones(1, 2)).sum().backward()
after = names()
vlltr_plugin.compat.apply()
print(dist.get_backend(), after == names(), len(set(before) & set(after)))
dist.destroy_process_group()
"""
ASKED = """
import os, torch
{set_by_user}
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


def test_cuda_calls_pass_and_nccl_becomes_gloo_without_cuda_and_with_cuda_torch_stays_as_it_is(tmp_path):
    assert run(SETUP.format(cuda=False) + WITHOUT_CUDA.format(folder=tmp_path)) == ["gloo True 0"]
    assert run(SETUP.format(cuda=True) + WITH_CUDA) == ["True [('utils', ['_save_whole_in'])]"]


@pytest.mark.parametrize("set_by_user", ["", "os.environ['PYTORCH_NVML_BASED_CUDA_CHECK'] = '0'"])
def test_cuda_available_does_not_initialise_the_driver(set_by_user):
    assert run(ASKED.format(set_by_user=set_by_user)) == ["[] True"]


DECLARE = """
import sys
sys.modules["timm"] = None
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


def test_schemas_are_declared_when_needed_and_another_failure_is_not_hidden(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "part.py").write_text("")
    for text, printed in ((NEEDS_NMS, "1 complete"), ("state = 'healthy'", "0 healthy")):
        (tmp_path / "torchvision" / "__init__.py").write_text(text)
        assert run(DECLARE, tmp_path) == [printed]
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('no disk')")
    with pytest.raises(AssertionError, match="RuntimeError: no disk"):
        run(DECLARE, tmp_path)


def test_the_installed_torchvision_and_timm_import():
    pytest.importorskip("torchvision", exc_type=ImportError)
    import timm.models
    import torchvision.transforms

    assert torchvision.transforms.Resize
    assert timm.models.create_model
