"""How many files and functions of the package four journeys run through: `python tests/journeys.py`.

A function counts once, under the file that holds it. Comprehensions, and the bodies of modules and classes that are
imported on the way, do not count.
"""

import contextlib
import importlib
import inspect
import io
import re
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mini_host import MiniHost
from recorded_run import COUNTS, run

from vlltr_plugin import ClassVolume, ReweightedLoss
from vlltr_plugin.cli import main as command_line
from vlltr_plugin.install import install

PACKAGE = Path(command_line.__code__.co_filename).parents[1]
LIFT = Path(__file__).parent / "hosts" / "lift" / "standin"


class Tracer:
    """Collects the package's functions that run inside it."""

    def __init__(self) -> None:
        self.found: defaultdict[str, set[str]] = defaultdict(set)

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        path, code = Path(frame.f_code.co_filename), frame.f_code
        is_function = code.co_flags & inspect.CO_OPTIMIZED and (code.co_name == "<lambda>" or code.co_name[0] != "<")
        if event == "call" and is_function and PACKAGE in path.parents:
            self.found[str(path.relative_to(PACKAGE))].add(f"{code.co_firstlineno} {code.co_name}")

    def __enter__(self) -> None:
        sys.setprofile(self)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


def loss_of_a_batch(folder: Path, trace: Tracer) -> None:
    criterion, labels = ReweightedLoss(ClassVolume(COUNTS)), torch.arange(8) % 3
    criterion(torch.randn(8, 3), labels)  # the first call of an epoch does more
    with trace:
        criterion(torch.randn(8, 3), labels)


def compare_of_two_logs(folder: Path, trace: Tracer) -> None:
    for name in ("a", "b"):
        run(folder / name, 2)
    with trace:
        assert command_line(["compare", str(folder / "a"), str(folder / "b")]) == 0


def epoch_end_in_lift(folder: Path, trace: Tracer) -> None:
    checkout = shutil.copytree(LIFT, folder / "lift")
    install(checkout, host="lift")
    trainer = checkout / "trainer.py"
    trainer.write_text(
        re.sub(r"( *)(.*reweight_hook.end_epoch\(.*)", r"\1with self.trace:\n    \1\2", trainer.read_text())
    )
    sys.path.insert(0, str(checkout))
    module = importlib.import_module("main")
    module.Trainer.trace = trace
    module.main(["output_dir", str(folder / "out"), "loss_type", "CE", "reweight.type", "class_volume"])


def epoch_end_in_vl_ltr(folder: Path, trace: Tracer) -> None:
    host = MiniHost({"type": "class_volume"}, output_dir=str(folder))
    hook = host.attach()
    end_epoch = hook.end_epoch

    def traced(epoch: int) -> Any:
        with trace:
            return end_epoch(epoch)

    hook.end_epoch = traced
    host.epoch(0)


JOURNEYS: dict[str, Callable[[Path, Tracer], None]] = {
    "criterion(logits, y)": loss_of_a_batch,
    "compare a b": compare_of_two_logs,
    "LIFT's epoch end": epoch_end_in_lift,
    "VL-LTR's epoch end": epoch_end_in_vl_ltr,
}

if __name__ == "__main__":
    for name, journey in JOURNEYS.items():
        tracer = Tracer()
        with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(io.StringIO()):
            journey(Path(temporary), tracer)
        functions = sum(map(len, tracer.found.values()))
        print(f"{name}: {len(tracer.found)} files, {functions} functions")
        if "--files" in sys.argv:
            print("".join(f"  {file}: {len(found)}\n" for file, found in sorted(tracer.found.items())), end="")
