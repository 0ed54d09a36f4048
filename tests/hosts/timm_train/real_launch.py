"""Runs the train.py of a real timm checkout on a machine without CUDA: `python real_launch.py train.py ARGUMENTS`."""

import os
import runpy
import sys

import torch
from torch.nn import parallel

if not torch.cuda.is_available():
    # A torchvision built for CUDA cannot load its operators beside a CPU build of torch.
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    # train.py gives DDP the CPU as a device id, which torch refuses.
    on_devices = parallel.DistributedDataParallel
    parallel.DistributedDataParallel = lambda module, device_ids=None, **named: on_devices(module, **named)  # type: ignore

sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
