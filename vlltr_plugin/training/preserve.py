"""Random state and modes of a model, put back after an extra forward pass."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def preserve_rng_and_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards the modes of all modules and the three global random generators are as before."""
    modes = [(module, module.training) for module in model.modules()]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    model.eval()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
