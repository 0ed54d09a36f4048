"""How much faster and smaller are `fast_head` and `fast_tower` than a checkout's own code?

    export VLLTR_CHECKOUT=path/to/VL-LTR OUT=tests/benchmarks/results/fast_head.jsonl
    python tests/benchmarks/fast_head.py --out $OUT                 # the head on one CPU thread: time, memory, profile
    python tests/benchmarks/fast_head.py --iteration --out $OUT     # a whole iteration, on a GPU when there is one
    python tests/benchmarks/fast_head.py --iteration --device cpu --small    # does it run?

The head: both kinds in turn in one process, forward and backward of both branches' mean squares, without a gradient for
the features (a frozen tower) and with one. Memory: one process a kind; its peak minus what it held before the first of
two steps, so with the cached statistics. An iteration: forward under autocast, soft-target cross entropy of both
branches, backward and AdamW on images that lie on the device; one process a kind and round.
"""

import argparse
import contextlib
import io
import os
import platform
import statistics
import sys
import time
import warnings

import torch
import torch.nn.functional as F
from common import Peak, in_process, memory, parser_of, spread, write_record
from torch.utils.benchmark import Timer

import vlltr_plugin.compat  # noqa: F401  (before the host's modules)
from vlltr_plugin.hosts.vl_ltr.fast import speed_up

KINDS = ("stock", "fast")
TIME = {"classes": 1000, "sentences": 64, "dim": 1024, "batch": 16}
MEMORY = {"classes": 500, "sentences": 64, "dim": 1024, "batch": 128}
ITERATIONS = {
    "imagenet_lt": {"classes": 1000, "batch": 128, "trained": False},
    "inat18": {"classes": 8142, "batch": 128, "trained": True},
}
SMALL = {"classes": 50, "batch": 4}


def host_modules():
    """models.finetune of the checkout."""
    folder = os.environ.get("VLLTR_CHECKOUT")
    if not folder:
        sys.exit("set VLLTR_CHECKOUT to a clean clone of VL-LTR at e5391f5")
    sys.dont_write_bytecode = True
    sys.path.insert(0, folder)
    warnings.simplefilter("ignore")  # timm's old import paths
    from models import finetune

    return finetune


def sentence_counts(classes, sentences):
    return torch.randint(1, sentences + 1, (classes,), generator=torch.Generator().manual_seed(0)).tolist()


class HeadAlone(torch.nn.Module):
    """A checkout's own head with random sentences, as its LGR model calls it."""

    def __init__(self, kind, classes, sentences, dim):
        super().__init__()
        torch.manual_seed(0)
        embeddings = torch.empty(classes, sentences, dim).normal_()
        self.text_embeddings = torch.nn.Parameter(embeddings, requires_grad=False)
        self.text_block = host_modules().Block(dim, 1, num_classes=classes)
        self.logit_scale = torch.tensor(2.66)
        self.mask = torch.arange(sentences) >= torch.tensor(sentence_counts(classes, sentences))[:, None]
        speed_up(argparse.Namespace(fast_head=kind == "fast"), self)

    def forward(self, x):
        scale = self.logit_scale
        return self.text_block(x.unsqueeze(1), self.text_embeddings, key_padding_mask=self.mask, logit_scale=scale)


def step_of(kind, sizes, trained):
    """A step of a head of these sizes on a batch of features."""
    model = HeadAlone(kind, sizes["classes"], sizes["sentences"], sizes["dim"])
    x = torch.randn(sizes["batch"], sizes["dim"], requires_grad=trained)

    def step():
        x.grad = None
        model.zero_grad()
        sum(output.square().mean() for output in model(x)).backward()

    return step


def seconds(function, repeats=1):
    """Medians of the thread's CPU time and of the clock."""
    taken = []
    for _ in range(repeats):
        cpu, clock = time.process_time(), time.perf_counter()
        function()
        taken.append((time.process_time() - cpu, time.perf_counter() - clock))
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def ratios(above, below):
    return spread([one / other for one, other in zip(above, below, strict=True)])


def head_times(rounds, trained):
    steps = {kind: step_of(kind, TIME, trained) for kind in KINDS}
    for step in steps.values():
        step()
    taken = {"stock": [], "fast": []}
    for _ in range(rounds):
        for kind, repeats in (("stock", 1), ("fast", 5)):
            taken[kind].append(seconds(steps[kind], repeats))
    record = {"what": "head time", "tower": "trained" if trained else "frozen", **TIME, "rounds": rounds}
    for column, name in enumerate(("cpu", "clock")):
        columns = {kind: [each[column] for each in taken[kind]] for kind in KINDS}
        record |= {f"{kind} {name} s": spread(columns[kind]) for kind in KINDS}
        record[f"stock / fast, {name}"] = ratios(columns["stock"], columns["fast"])
    return record


def head_profile():
    record = {"what": "head profile, % of CPU time", **TIME}
    for kind in KINDS:
        step = step_of(kind, TIME, trained=True)
        step()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            step()
        events = sorted(profile.key_averages(), key=lambda event: -event.self_cpu_time_total)
        total = sum(event.self_cpu_time_total for event in events)
        record[kind] = {event.key: round(100 * event.self_cpu_time_total / total, 1) for event in events[:8]}
    return record


def peak_of(kind):
    """In a process of its own: MiB above what was held before the first step."""
    step_of(kind, {"classes": 4, "sentences": 4, "dim": 64, "batch": 2}, trained=True)()  # libraries' own memory
    step = step_of(kind, MEMORY, trained=True)
    peak = Peak()
    step()
    step()
    return peak.extra() / 2**20


def head_memory(rounds):
    found = {kind: [in_process(peak_of, kind) for _ in range(rounds)] for kind in KINDS}
    record = {"what": "head memory", **MEMORY, "rounds": rounds, "stock / fast": ratios(found["stock"], found["fast"])}
    for kind in KINDS:
        record[f"{kind} MiB"] = spread(found[kind])
        # Every tensor of the head but [B, d] ones has a factor C.
        record[f"{kind} GiB at C = 8142, in proportion"] = statistics.median(found[kind]) * 8142 / 500 / 1024
    return record


def iteration_of(kind, sizes, args):
    """In a process of its own: median seconds of an iteration and peak MiB."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    device, small, trained = args.device, args.small, sizes["trained"]
    tower = {"vision_layers": (1, 1, 1, 1) if small else (3, 4, 6, 3), "vision_width": 16 if small else 64}
    length, fast, cuda = 8 if small else 64, kind == "fast", device == "cuda"
    with contextlib.redirect_stdout(io.StringIO()):
        model = host_modules().LGR(
            num_classes=sizes["classes"], embed_dim=1024, image_resolution=224, vision_patch_size=None, **tower,
            sent_length=length, attn_heads=1, sent_idxs=sentence_counts(sizes["classes"], length), use_norm=True,
            img_grad=trained, v_detach=trained,
        )  # fmt: skip
        torch.nn.init.normal_(model.text_embeddings)
        model.text_embeddings.requires_grad_(False)
        model.visual.requires_grad_(trained)
        model.to(device)
        model.train()
        speed_up(argparse.Namespace(fast_head=fast, fast_tower=fast and not trained), model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    images = torch.randn(sizes["batch"], 3, 224, 224, device=device)
    targets = torch.rand(sizes["batch"], sizes["classes"], device=device).softmax(dim=-1)
    scaler = torch.amp.GradScaler(device, enabled=cuda)

    def iterate():
        with torch.autocast(device, dtype=torch.float16 if cuda else torch.bfloat16):
            loss = sum(F.cross_entropy(output.float(), targets) for output in model(images))
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if cuda:
            torch.cuda.synchronize()

    for _ in range(2 if small else 10):
        iterate()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    median = statistics.median(seconds(iterate)[1] for _ in range(args.iterations))
    return median, (torch.cuda.max_memory_allocated() if cuda else memory("VmHWM")) / 2**20


def iteration(case, args):
    sizes = ITERATIONS[case] | (SMALL if args.small else {})
    rounds = [{kind: in_process(iteration_of, kind, sizes, args) for kind in KINDS} for _ in range(args.rounds)]
    record = {"what": "iteration", "case": case, "device": args.device, "small": args.small, "rounds": args.rounds}
    times = {kind: [each[kind][0] for each in rounds] for kind in KINDS}
    record |= sizes
    for kind in KINDS:
        record[f"{kind} s"] = spread(times[kind])
        record[f"{kind} peak MiB"] = statistics.median(each[kind][1] for each in rounds)
    return record | {"fast / stock": ratios(times["fast"], times["stock"])}


def ceilings(device):
    """What the device can do: products of half-precision matrices (TFLOP/s) and copies (GB/s, read and write)."""
    cuda = device == "cuda"
    dtype, size = (torch.float16, 8192) if cuda else (torch.float32, 1024)
    a, b = torch.randn(size, size, device=device).to(dtype), torch.empty(2**28 if cuda else 2**25, device=device)
    given = {"a": a, "b": b}
    product, copy = (Timer(what, globals=given).blocked_autorange().median for what in ("a @ a", "b.clone()"))
    about = {"what": "ceilings", "device": torch.cuda.get_device_name() if cuda else "one CPU thread"}
    return about | {f"{dtype} product TFLOP/s": 2 * size**3 / product / 1e12, "copy GB/s": 2 * b.nbytes / copy / 1e9}


def records(args):
    if args.iteration:
        yield ceilings(args.device)
        for case in [args.case] if args.case else ITERATIONS:
            yield iteration(case, args)
    else:
        for trained in (False, True):
            yield head_times(args.rounds, trained)
        yield head_memory(args.rounds)
        yield head_profile()


def main():
    parser = parser_of(__doc__, help="JSON lines are appended here")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iteration", action="store_true", help="a whole iteration of stage two")
    parser.add_argument("--case", choices=ITERATIONS, help="one of the two, else both")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cuda", "cpu"))
    parser.add_argument("--iterations", type=int, default=30, help="timed, in each process")
    parser.add_argument("--small", action="store_true", help="small tower, batch and class count")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for record in records(args):
        write_record(record | {"torch": torch.__version__, "machine": platform.machine()}, args.out)


if __name__ == "__main__":
    main()
