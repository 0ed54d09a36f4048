"""What share of a whole training step does the plug-in take, and how much faster is one with the fast head and tower?

The real main.py of a host trains full-size models on images of 224 pixels, random ones, on one CPU thread: VL-LTR's
stage two of ImageNet-LT with an R-50 (1000 classes, up to 64 sentences each), and LIFT with its ViT-B/16 and adapters
(100 classes).

    export VLLTR_CHECKOUT=path/to/VL-LTR VLLTR_LIFT=folder/with/LIFT
    python tests/benchmarks/whole_step.py --out tests/benchmarks/results/whole_step.jsonl

A step lasts from the batch that the loader gives to the next that the loop asks for; seconds of the process's CPU
time, medians (range) without the first two steps. Variants take turns, one process each. With `--device cuda` the host
runs on the GPU at its own batch size, and the clock waits for it.
"""

import argparse
import json
import os
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import dataloader

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "real_host"), str(TESTS / "hosts" / "lift")]
import layout  # noqa: E402
import real_launch  # noqa: E402
import runner  # noqa: E402
from common import parser_of, write_record  # noqa: E402

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
    """CPU seconds of the steps and of named calls in them."""

    def __init__(self, cuda):
        self.cuda, self.steps, self.ends = cuda, [], []
        self._parts, self._start, self._stepped = defaultdict(float), None, False

    def install(self):
        """Puts the clock around loader, optimizers and the plug-in."""
        register_optimizer_step_post_hook(lambda *_: setattr(self, "_stepped", True))
        loader = dataloader._BaseDataLoaderIter
        fetch = loader.__next__

        def timed_fetch(iterator):
            self._end_step()
            batch = fetch(iterator)
            self._parts, self._start, self._stepped = defaultdict(float), self.now(), False
            return batch

        loader.__next__ = timed_fetch
        self._around(HostCriterion, "forward", "criterion")
        self._around(Criterion, "observe_in_host", "statistics")
        end_epoch = EpochHook.end_epoch

        def timed_end(*args, **kwargs):
            self._end_step()
            start = self.now()
            result = end_epoch(*args, **kwargs)
            self.ends.append(self.now() - start)
            return result

        EpochHook.end_epoch = timed_end

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

    def _around(self, owner, name, part):
        inner = getattr(owner, name)

        def timed(*args, **kwargs):
            start = self.now()
            result = inner(*args, **kwargs)
            self._parts[part] += self.now() - start
            return result

        setattr(owner, name, timed)


def vl_ltr_checkout(target, batch):
    """A copy of VL-LTR with the plug-in and seven batches of ImageNet-LT."""
    rng = np.random.default_rng(0)
    data_set, root = layout.IMAGENET_LT, target.with_name("data")
    layout._write_clip_archives(root / "pretrained")
    images = {
        split: [_image(rng, n) for n in [count // 10 + (c < count % 10) for c in range(10)]]
        for split, count in (("train", 7 * batch), ("val", 10), ("test", 10))
    }
    lists = layout._write_images(root / data_set.folder, data_set, images)
    layout._write_text_lists(root / data_set.folder, data_set, lists)
    layout._write_wiki(root / data_set.folder, data_set)
    sentences = rng.integers(1, SENTENCES + 1, data_set.classes).tolist()
    layout._write_tokens(root / "cached", data_set, sentences)
    stage_one = root / "checkpoints" / "pretrain_r50"
    stage_one.mkdir(parents=True)
    np.save(stage_one / "txt_embed.npy", rng.standard_normal((sum(sentences), 1024), dtype=np.float32))
    for split in ("train", "val"):
        np.save(stage_one / f"{split}_txt_ce.npy", rng.random(sum(sentences), dtype=np.float32))
    model = {"visual.attnpool.positional_embedding": torch.zeros(50, 2048)}
    torch.save({"model": model, "epoch": 49, "args": argparse.Namespace()}, stage_one / "checkpoint.pth")
    checkout = layout.prepare_checkout(Path(os.environ["VLLTR_CHECKOUT"]), target, root)
    install(checkout)
    return checkout


def _image(rng, number):
    return np.kron(rng.integers(0, 256, (number, 32, 32, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))


def vl_ltr_command(checkout, variant, args):
    name = variant.replace(" ", "_")
    base = "configs/imagelt/finetune/finetune_r50.py"
    config = runner.write_config(checkout, name, base, batch_size=args.batch, **VL_LTR[variant])
    return ["--config", config, "--device", args.device, "--num_workers", "0"]


def lift_checkout(target, batch):
    """A copy of LIFT with the plug-in."""
    ignored = shutil.ignore_patterns(".git", "output", "__pycache__")
    shutil.copytree(Path(os.environ["VLLTR_LIFT"]) / "LIFT", target, ignore=ignored)
    install(target)
    return target


def lift_command(checkout, variant, args):
    size = ["batch_size", str(args.batch), "micro_batch_size", str(args.batch)]
    short = ["num_workers", "0", "num_epochs", "2", "loss_type", "CE", "output_dir", variant.replace(" ", "_")]
    return ["-d", "cifar100_ir100", "-m", "clip_vit_b16", "adaptformer", "True", *size, *short, *LIFT[variant]]


HOSTS = {"vl_ltr": (VL_LTR, vl_ltr_checkout, vl_ltr_command), "lift": (LIFT, lift_checkout, lift_command)}


def train(host, checkout, command, cuda, times):
    """In a process of its own: the host's main.py with the clock."""
    torch.set_num_threads(1)
    clock = Clock(cuda)
    if host == "lift":

        def vit_b16(*args, **kwargs):
            from clip.model import CLIP

            return CLIP(512, 224, 12, 768, 16, 77, 49408, 512, 8, 12).float()

        real_launch.tiny_clip = vit_b16
        sys.argv = ["real_launch.py", checkout, *command]
        clock.install()
        real_launch.main()
    else:
        import_module("vlltr_plugin.compat")  # what LIFT's own packages must not meet
        os.chdir(checkout)
        sys.path[0] = checkout
        sys.argv = ["main.py", *command]
        clock.install()
        runpy.run_path("main.py", run_name="__main__")
    Path(times).write_text(json.dumps({"steps": clock.steps, "ends": clock.ends}))


def in_process(host, checkout, command, args, folder):
    times = folder / "times.json"
    times.unlink(missing_ok=True)
    flags = ["--run", host, "--checkout", str(checkout), "--device", args.device, "--times", str(times)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LIFT_IMAGES": "250" if args.device == "cpu" else "1"}
    environment.pop("VLLTR_DATA", None)  # random images
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, *flags, "--", *command],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-6000:])
    return json.loads(times.read_text())


def spread(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "steps": len(values)}


def measured(host, args):
    variants, prepare, command = HOSTS[host]
    found = {variant: {"steps": [], "ends": []} for variant in variants}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        checkout = prepare(folder / "checkout", args.batch)
        for _ in range(args.rounds):
            for variant in variants:
                one = in_process(host, checkout, command(checkout, variant, args), args, folder)
                found[variant]["steps"] += one["steps"][WARM_UP:]
                found[variant]["ends"] += one["ends"]
                print(host, variant, len(one["steps"]), "steps", file=sys.stderr, flush=True)
                for left in ("checkpoints", "output"):
                    shutil.rmtree(checkout / left / variant.replace(" ", "_"), ignore_errors=True)
    stock = statistics.median(step["step"] for step in found["stock"]["steps"])
    for variant, one in found.items():
        record = {"host": host, "variant": variant, "batch": args.batch, "device": args.device}
        record["step s"] = spread([step["step"] for step in one["steps"]])
        record["step / stock"] = record["step s"]["median"] / stock
        if variant != "stock":
            for part in ("criterion", "statistics"):
                record[f"{part} ms"] = spread([1000 * step[part] for step in one["steps"]])
                record[f"{part}, % of the step"] = spread([100 * step[part] / step["step"] for step in one["steps"]])
            record["epoch's end s"] = spread(one["ends"])
        yield record


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--out", help="JSON lines are appended here")
    parser.add_argument("--host", choices=HOSTS, help="one of the two, else both")
    parser.add_argument("--batch", type=int, help="images of a step (default: VL-LTR 16, LIFT 8; on a GPU 128)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cuda", "cpu"))
    for hidden in ("--run", "--checkout", "--times"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        train(args.run, args.checkout, args.command, args.device == "cuda", args.times)
        return
    batch = args.batch
    for host in [args.host] if args.host else HOSTS:
        args.batch = batch or (128 if args.device == "cuda" else {"vl_ltr": 16, "lift": 8}[host])
        for record in measured(host, args):
            write_record(record | {"torch": torch.__version__}, args.out)


if __name__ == "__main__":
    main()
