"""Whether there is CUDA, asked so that nothing is settled by asking."""

import os

import torch

__all__ = ["there_is_cuda"]

_WITHOUT_DRIVER = "PYTORCH_NVML_BASED_CUDA_CHECK"


def there_is_cuda() -> bool:
    """`torch.cuda.is_available()` without starting the driver, where NVML can tell.

    The driver reads `CUDA_VISIBLE_DEVICES` once, when it starts: a host that sets it below its imports or in `main`
    would run on another GPU than it names, and one that forks after that could not use any. A driver too old for torch
    counts as CUDA here: hide its GPUs.
    """
    given = os.environ.get(_WITHOUT_DRIVER)
    os.environ[_WITHOUT_DRIVER] = "1"
    try:
        return torch.cuda.is_available()
    finally:
        if given is None:
            del os.environ[_WITHOUT_DRIVER]
        else:
            os.environ[_WITHOUT_DRIVER] = given
