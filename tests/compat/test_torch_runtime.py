"""CUDA-only calls of the host pass without CUDA; with CUDA torch stays as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def run(code: str) -> list[str]:
    """Run code in a process of its own, since the shims last as long as the process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith("[Gloo]")]  # torch 2.8 reports its ranks


def test_cuda_calls_pass_and_nccl_becomes_gloo_without_cuda(tmp_path: Path) -> None:
    assert run(SETUP.format(cuda=False) + PATCHED.format(folder=tmp_path)) == ["gloo", "True 0"]


def test_torch_stays_as_it_is_with_cuda() -> None:
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
def test_asking_for_cuda_does_not_start_the_driver_which_would_settle_what_is_visible(set_by_user: str) -> None:
    assert run(f"import os\n{set_by_user}\n{ASKED}") == ["[] True"]
