"""Lets an unmodified VL-LTR checkout (2022) run on a current Python stack, with or without CUDA.

Import this package before torch, torchvision and timm, as `install` does in the host's `main.py`:

    import vlltr_plugin.compat

Each shim is one small function that quotes the error it answers and does nothing where that error cannot come.
Importing the package twice is harmless. On a machine with CUDA nothing about devices is changed: hide its GPUs
(`CUDA_VISIBLE_DEVICES=`) to run on the CPU there. Without CUDA, start the host with `--device cpu`.
"""

from vlltr_plugin.compat.checkpoints import load_safely_by_default, trust_argparse_namespace
from vlltr_plugin.compat.clip_tokenizer import supply_clip
from vlltr_plugin.compat.host_defaults import hook_host_modules
from vlltr_plugin.compat.launcher import accept_dashed_local_rank
from vlltr_plugin.compat.mmcv_config import supply_mmcv
from vlltr_plugin.compat.numpy_names import supply_numpy_bool
from vlltr_plugin.compat.timm_names import accept_zero_bit_posterize, supply_timm_registry
from vlltr_plugin.compat.torch_runtime import run_without_cuda
from vlltr_plugin.compat.torchvision_ops import declare_missing_ops
from vlltr_plugin.compat.whole_checkpoints import save_checkpoints_whole

__all__ = ["apply"]


def apply() -> None:
    """Applies every shim that this machine needs; safe to call again."""
    supply_numpy_bool()
    declare_missing_ops()
    supply_mmcv()
    supply_clip()
    supply_timm_registry()
    accept_zero_bit_posterize()
    trust_argparse_namespace()
    load_safely_by_default()
    save_checkpoints_whole()
    accept_dashed_local_rank()
    run_without_cuda()
    hook_host_modules()


apply()
