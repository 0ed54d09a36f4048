"""Runs the `main.py` of the current folder, a checkout, and saves what its criterion was called with in training.

    python record_launch.py calls.pt --config configs/... --device cpu ...

A real VL-LTR gets the small towers of real_host/launch.py; the stand-in's are small.
"""

import os
import random
import runpy
import sys
from pathlib import Path

import torch
from host_steps import Call, record_calls
from real_host.launch import shrink_towers

if __name__ == "__main__":
    target = sys.argv.pop(1)
    sys.path[0] = os.getcwd()
    sys.argv[0] = "main.py"
    random.seed(0)
    import losses

    recorded: list[list[Call]] = []
    build = losses.DistillationLoss.__init__

    def build_recorded(self: torch.nn.Module, *args: object) -> None:
        build(self, *args)
        recorded.append(record_calls(self))

    losses.DistillationLoss.__init__ = build_recorded
    if "class LGR(" in Path("models/finetune.py").read_text():
        shrink_towers()
    runpy.run_path("main.py", run_name="__main__")
    (calls,) = recorded
    torch.save([tuple(call) for call in calls], target)
