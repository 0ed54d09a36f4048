"""Lets an unmodified VL-LTR checkout (2022) run on a current Python stack, with or without CUDA.

Import this package before torch, torchvision and timm, as `install` does in the host's `main.py`:

    import vlltr_plugin.compat

Each shim is a small function that quotes the error it prevents, and does nothing if that error cannot occur. Importing
the package twice is harmless. On a machine with CUDA, devices are not changed: hide the GPUs
(`CUDA_VISIBLE_DEVICES=`) to run on the CPU. Without CUDA, start the host with `--device cpu`.
"""

from vlltr_plugin.compat import host_modules, runtime, stand_ins

__all__ = ["apply"]


def apply() -> None:
    """Applies every shim that this machine needs; safe to call again."""
    runtime.supply_numpy_bool()
    runtime.declare_missing_ops()
    stand_ins.supply_mmcv()
    stand_ins.supply_clip()
    stand_ins.supply_timm_registry()
    stand_ins.accept_zero_bit_posterize()
    runtime.trust_argparse_namespace()
    runtime.load_safely_by_default()
    host_modules.save_checkpoints_whole()
    runtime.accept_dashed_local_rank()
    runtime.run_without_cuda()
    host_modules.default_to_cpu()


apply()
