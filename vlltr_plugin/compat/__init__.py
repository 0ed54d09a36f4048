"""Lets an unmodified VL-LTR checkout (2022) run on a current Python stack, with or without CUDA.

Import this package before torch, torchvision and timm, as `install` does in the host's `main.py`:

    import vlltr_plugin.compat

Each shim is one small function that quotes the error it answers and does nothing where that error cannot come.
Importing the package twice is harmless. On a machine with CUDA nothing about devices is changed: hide its GPUs
(`CUDA_VISIBLE_DEVICES=`) to run on the CPU there. Without CUDA, start the host with `--device cpu`.
"""

from vlltr_plugin.compat.host_modules import default_to_cpu, save_checkpoints_whole
from vlltr_plugin.compat.runtime import (
    accept_dashed_local_rank,
    declare_missing_ops,
    load_safely_by_default,
    run_without_cuda,
    supply_numpy_bool,
    trust_argparse_namespace,
)
from vlltr_plugin.compat.stand_ins import accept_zero_bit_posterize, supply_clip, supply_mmcv, supply_timm_registry

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
    default_to_cpu()


apply()
