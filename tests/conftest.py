"""One thread a process: the tests run beside each other; and torchvision's imports made possible once."""

import os

import torch

from vlltr_plugin.compat.torchvision_ops import declare_missing_ops

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)
declare_missing_ops()
