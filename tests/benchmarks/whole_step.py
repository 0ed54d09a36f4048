"""What share of a whole training step does the plug-in take, and how much faster is one with the fast head and tower?

The real main.py of a host trains full-size models on random images of 224 pixels on one CPU thread: VL-LTR's stage two
of ImageNet-LT with an R-50, and LIFT with its ViT-B/16 and adapters (100 classes).

    export VLLTR_CHECKOUT=path/to/VL-LTR VLLTR_LIFT=folder/with/LIFT
    python tests/benchmarks/whole_step.py --out tests/benchmarks/results/whole_step.jsonl

A step lasts from the batch that the loader gives to the next that the loop asks for; seconds of the process's CPU time
(of the clock with `--device cuda`), medians (range) without the first two steps. Variants take turns, one process each.
"""

import argparse
import contextlib
import io
import os
import runpy
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import dataloader

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "real_host"), str(TESTS / "hosts" / "lift")]
import common  # noqa: E402
import layout  # noqa: E402
import real_launch  # noqa: E402
import runner  # noqa: E402

from vlltr_plugin.core.criterion import Criterion  # noqa: E402
from vlltr_plugin.install import install  # noqa: E402
from vlltr_plugin.training.hook import EpochHook  # noqa: E402
from vlltr_plugin.training.host_criterion import HostCriterion  # noqa: E402

WARM_UP = 2
SENTENCES = 64
VOLUME = {"type": "class_volume"}
VL_LTR = {
    "stock": {},
    "class volume": {"reweight": VOLUME},
    "fast head": {"reweight": VOLUME, "fast_head": True},
    "fast head and tower": {"reweight": VOLUME, "fast_head": True, "fast_tower": True},
}
LIFT = {"stock": [], "class volume": ["reweight.type", "class_volume"]}


class Clock:
    """CPU seconds of the steps and of named calls in them; its making puts it around loader, optimizers and plug-in."""

    def __init__(self, cuda):
        self.cuda, self.steps, self.ends = cuda, [], []
        self._parts, self._start, self._stepped = defaultdict(float), None, False
        register_optimizer_step_post_hook(lambda *_: setattr(self, "_stepped", True))
        loader = dataloader._BaseDataLoaderIter
        fetch = loader.__next__

        def timed_fetch(iterator):
            self._end_step()
            batch = fetch(iterator)
            self._parts, self._start, self._stepped = defaultdict(float), self.now(), False
            return batch

        loader.__next__ = timed_fetch
        self._around(HostCriterion, "forward", lambda seconds: self._add("criterion", seconds))
        self._around(Criterion, "observe_in_host", lambda seconds: self._add("statistics", seconds))
        self._around(EpochHook, "end_epoch", self.ends.append, before=self._end_step)

    def now(self):
        """Seconds of the CPU; on a GPU of the clock, once it has finished."""
        if self.cuda:
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    def _end_step(self):
        if self._stepped:
            self.steps.append({"step": self.now() - self._start, **self._parts})
        self._stepped = False

    def _add(self, part, seconds):
        self._parts[part] += seconds

    def _around(self, owner, name, add, before=lambda: None):
        inner = getattr(owner, name)

        def timed(*args, **kwargs):
            before()
            start = self.now()
            result = inner(*args, **kwargs)
            add(self.now() - start)
            return result

        setattr(owner, name, timed)


def vl_ltr_checkout(target, batch):
    """A copy of VL-LTR with seven batches of ImageNet-LT, and stage one's results for a full-size tower."""
    rng, root = np.random.default_rng(0), target.with_name("data")
    layout.DATA_SETS, layout.EMBED_DIM = [layout.IMAGENET_LT], 1024
    layout.SENTENCES = rng.integers(1, SENTENCES + 1, layout.IMAGENET_LT.classes).tolist()
    images = {}
    for split, count in (("train", 7 * batch), ("val", 10), ("test", 10)):
        noise = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        images[split] = np.array_split(np.kron(noise, np.ones((8, 8, 1), np.uint8)), 10)
    layout._images = images.__getitem__
    layout.write_data(root)
    model = {"visual.attnpool.positional_embedding": torch.zeros(50, 2048)}
    state = {"model": model, "epoch": 49, "args": argparse.Namespace()}
    torch.save(state, root / "checkpoints" / "pretrain_r50" / "checkpoint.pth")
    return layout.prepare_checkout(Path(os.environ["VLLTR_CHECKOUT"]), target, root)


def vl_ltr_command(checkout, variant, args):
    base, name = "configs/imagelt/finetune/finetune_r50.py", variant.replace(" ", "_")
    config = runner.write_config(checkout, name, base, batch_size=args.batch, **VL_LTR[variant])
    return ["--config", config, "--device", args.device, "--num_workers", "0"]


def lift_checkout(target, batch):
    ignored = shutil.ignore_patterns(".git", "output", "__pycache__")
    return shutil.copytree(Path(os.environ["VLLTR_LIFT"]) / "LIFT", target, ignore=ignored)


def lift_command(checkout, variant, args):
    size = ["batch_size", str(args.batch), "micro_batch_size", str(args.batch)]
    short = ["num_workers", "0", "num_epochs", "2", "loss_type", "CE", "output_dir", variant.replace(" ", "_")]
    return ["-d", "cifar100_ir100", "-m", "clip_vit_b16", "adaptformer", "True", *size, *short, *LIFT[variant]]


HOSTS = {"vl_ltr": (VL_LTR, vl_ltr_checkout, vl_ltr_command), "lift": (LIFT, lift_checkout, lift_command)}


def train(host, checkout, command, cuda):
    """In a process of its own: the host's main.py with the clock; seconds of the steps and of the epochs' ends."""
    warnings.simplefilter("ignore")
    sys.argv = ["main.py", *command]
    with contextlib.redirect_stdout(io.StringIO()):
        if host == "lift":
            vit_b16 = (512, 224, 12, 768, 16, 77, 49408, 512, 8, 12)
            real_launch.tiny_clip = lambda *_, **__: import_module("clip.model").CLIP(*vit_b16).float()
            sys.argv.insert(1, checkout)
            clock = Clock(cuda)
            real_launch.main()
        else:
            import_module("vlltr_plugin.compat")  # what LIFT's own packages must not meet
            os.chdir(checkout)
            sys.path[0] = checkout
            clock = Clock(cuda)
            runpy.run_path("main.py", run_name="__main__")
    return clock.steps, clock.ends


def spread(values):
    return {**common.spread(values, "low", "high"), "steps": len(values)}


def measured(host, args):
    variants, prepare, command = HOSTS[host]
    found = {variant: ([], []) for variant in variants}
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(prepare(Path(folder, "checkout"), args.batch))
        install(checkout)
        for variant in list(variants) * args.rounds:
            given = command(checkout, variant, args)
            steps, ends = common.in_process(train, host, str(checkout), given, args.device == "cuda")
            found[variant][0].extend(steps[WARM_UP:])
            found[variant][1].extend(ends)
            print(host, variant, len(steps), "steps", file=sys.stderr, flush=True)
            for left in ("checkpoints", "output"):
                shutil.rmtree(checkout / left / variant.replace(" ", "_"), ignore_errors=True)
    stock = statistics.median(step["step"] for step in found["stock"][0])
    for variant, (steps, ends) in found.items():
        record = {"host": host, "variant": variant, "batch": args.batch, "device": args.device}
        record["step s"] = spread([step["step"] for step in steps])
        record["step / stock"] = record["step s"]["median"] / stock
        if variant != "stock":
            for part in ("criterion", "statistics"):
                record[f"{part} ms"] = spread([1000 * step[part] for step in steps])
                record[f"{part}, % of the step"] = spread([100 * step[part] / step["step"] for step in steps])
            record["epoch's end s"] = spread(ends)
        yield record


def main():
    parser = common.parser_of(__doc__, help="JSON lines are appended here")
    parser.add_argument("--host", choices=HOSTS, help="one of the two, else both")
    parser.add_argument("--batch", type=int, help="images of a step (default: VL-LTR 16, LIFT 8; on a GPU 128)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cuda", "cpu"))
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "LIFT_IMAGES": "250" if args.device == "cpu" else "1"}
    os.environ.pop("VLLTR_DATA", None)  # random images
    batch = args.batch
    for host in [args.host] if args.host else HOSTS:
        args.batch = batch or (128 if args.device == "cuda" else {"vl_ltr": 16, "lift": 8}[host])
        for record in measured(host, args):
            common.write_record(record | {"torch": torch.__version__}, args.out)


if __name__ == "__main__":
    main()
