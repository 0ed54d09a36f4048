"""What the statistics cost: our criterion against the plain loss, and against lists of logits.

Ratios within one run (the variants take turns of five calls, in random order): a `step` of the criterion with
statistics, weights not 1, against torch's soft-target cross entropy (`--features 0 512`: statistics of all logits, and
of a sample of 512); an `epoch` of ImageNet-LT, statistics only, against each class's logits in a list on the CPU and
numpy's standard deviation at the end.

    VLLTR_DATA=... python tests/benchmarks/statistics_cost.py --out costs.jsonl
    python tests/benchmarks/statistics_cost.py --only none --out tests/benchmarks/results/statistics_cost.jsonl
"""

import itertools
import json
import random
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from common import add_line, class_counts, lines_of, parser_of, table

from vlltr_plugin import ClassVolume, ReweightedLoss

BATCH, SMOOTHING = 128, 0.1
DATA_SETS = {365: "places_lt", 1000: "imagenet_lt", 8142: "inat2018"}
EPOCH_BATCHES = 905


def clock(device):
    """Wall and CPU seconds; on a GPU after it has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def spread(values):
    low, median, high = map(float, np.quantile(values, [0.25, 0.5, 0.75]))
    return {"median": median, "low": low, "high": high}


def in_turns(variants, repeats, device, warm_up=2, in_a_row=5):
    """Seconds of each variant, `{name: {"wall": array, "cpu": array}}`; variants get the number of the call."""
    seconds = {name: [] for name in variants}
    order, shuffle = list(variants), random.Random(0).shuffle
    for number in range(warm_up + repeats):
        shuffle(order)  # in a fixed order, a busy machine's time slices hit the same variant again and again
        for name, k in itertools.product(order, range(in_a_row)):
            start = clock(device)
            variants[name](number * in_a_row + k)
            seconds[name].append(np.subtract(clock(device), start))
    return {
        name: dict(zip(("wall", "cpu"), np.array(each[warm_up * in_a_row :]).T, strict=True))
        for name, each in seconds.items()
    }


def batches_of(counts, number, generator):
    """Labels as a 1/sqrt(n) sampler draws them, `[number, BATCH]`."""
    drawn = torch.multinomial(counts.double().sqrt(), number * BATCH, replacement=True, generator=generator)
    return drawn.view(number, BATCH)


def mixed(labels, classes):
    hard = F.one_hot(labels, classes).float()
    return (1 - SMOOTHING) * (0.7 * hard + 0.3 * hard.flip(0)) + SMOOTHING / classes


def state_bytes(weighting):
    return sum(value.nbytes for value in vars(weighting._moments).values() if isinstance(value, torch.Tensor))


def step(classes, dtype, repeats, device, features):
    """One record: ratios, seconds, bytes; with a sample of the features, or all of them (None)."""
    generator = torch.Generator().manual_seed(0)
    counts = class_counts(DATA_SETS[classes])
    weighting = ClassVolume(counts, draws=counts.sqrt(), features=features)
    criterion = ReweightedLoss(weighting, smoothing=SMOOTHING).to(device)
    labels = batches_of(counts, 8, generator)
    # Two samples of each class first, for three epochs (in the first two a hook of each loss takes 10 us more): weights
    # other than 1, and a state in the middle of an epoch.
    for number in range(3):
        for part in torch.arange(classes).repeat(2).split(BATCH):
            criterion.observe(torch.randn(len(part), classes, generator=generator).to(device), part.to(device))
        if number < 2:
            criterion.end_epoch()
    assert weighting.active
    assert float(weighting.weights.std()) > 0
    rows = [torch.randn(BATCH, classes, generator=generator).to(device, dtype).requires_grad_() for _ in range(8)]
    hard, soft = [y.to(device) for y in labels], [mixed(y, classes).to(device) for y in labels]

    def run(loss, targets):
        def call(number):
            logits = rows[number % 8]
            logits.grad = None
            # Autocast computes either loss in float32, as in training.
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype != torch.float32):
                value = loss(logits, targets[number % 8])
            value.backward()

        return call

    variants = {
        "plain": run(lambda z, t: torch.sum(-t * F.log_softmax(z, dim=-1), dim=-1).mean(), soft),
        "hard": run(criterion, hard),
        "mixup": run(criterion, soft),
        "mixup, loss only": run(lambda z, t: criterion.losses(z, t).mean(), soft),
        "plain hard": run(F.cross_entropy, hard),
    }
    seconds = in_turns(variants, repeats, device)
    record = {"classes": classes, "features": features, "dtype": str(dtype).removeprefix("torch."), "repeats": repeats}
    record["synchronises"] = waits_for_device(variants["hard"], variants["mixup"], device)
    for kind in ("wall", "cpu"):
        base = np.median(seconds["plain"][kind])
        record[kind] = {name: spread(values[kind]) for name, values in seconds.items()}
        record[f"{kind}_ratio"] = {name: spread(values[kind] / base) for name, values in seconds.items()}
    record["state_bytes"] = state_bytes(weighting)
    record["state_over_4CD"] = record["state_bytes"] / (4 * classes * (features or classes))
    start = clock(device)
    criterion.end_epoch()
    record["end_epoch_wall"], record["end_epoch_cpu"] = (b - a for a, b in zip(start, clock(device), strict=True))
    return record


def waits_for_device(hard, soft, device):
    """Whether a step waits for the GPU, by CUDA's own debug mode; None on the CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.set_sync_debug_mode("error")
    try:
        hard(0)
        soft(0)
    except RuntimeError:
        return True
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return False


def streamed(counts, batches):
    weighting = ClassVolume(counts, draws=counts.sqrt())
    for logits, labels in batches:
        weighting.observe(logits, labels)
    size = state_bytes(weighting)
    weighting.end_epoch()
    return size, weighting.log_radius


def listed(counts, batches):
    lists = [[] for _ in counts]
    for logits, labels in batches:
        for label, row in zip(labels, logits.detach().cpu(), strict=True):
            lists[int(label)].append(row.numpy())
    size = sum(row.nbytes for rows in lists for row in rows)
    radii = [np.log(np.std(np.stack(rows), axis=0, ddof=1)).mean() if len(rows) > 1 else np.nan for rows in lists]
    return size, torch.tensor(np.array(radii))


def epoch(repeats):
    """One record: seconds and bytes of both ways over an epoch, less the making of the logits."""
    counts, results = class_counts(DATA_SETS[1000]), {}
    drawn = batches_of(counts, EPOCH_BATCHES, torch.Generator().manual_seed(1))

    def run(name, way):
        def call(number):
            generator = torch.Generator().manual_seed(number)
            batches = ((torch.randn(BATCH, len(counts), generator=generator), labels) for labels in drawn)
            results[name] = way(counts, batches)

        return call

    ways = {"logits": lambda _, batches: [None for _ in batches], "streamed": streamed, "lists": listed}
    variants = {name: run(name, way) for name, way in ways.items()}
    seconds = in_turns(variants, repeats, torch.device("cpu"), warm_up=0, in_a_row=1)
    own = torch.isfinite(results["lists"][1])
    error = float((results["streamed"][1] - results["lists"][1])[own].abs().max())
    record = {"classes": 1000, "batches": EPOCH_BATCHES, "repeats": repeats, "largest_difference": error}
    for kind in ("wall", "cpu"):
        net = {name: seconds[name][kind] - seconds["logits"][kind] for name in ("streamed", "lists")}
        record[kind] = {name: spread(values) for name, values in net.items()}
        record[f"{kind}_ratio"] = spread(net["streamed"] / net["lists"])
    record["bytes"] = {name: results[name][0] for name in ("streamed", "lists")}
    return record


def shown(spread):
    return f"{spread['median']:.2f} ({spread['low']:.2f} to {spread['high']:.2f})"


def tabled(records):
    rows = []
    for line in (line for line in records if line["kind"] == "step"):
        ratios = [shown(line["cpu_ratio"][name]) for name in ("hard", "mixup", "mixup, loss only")]
        megabytes = line["state_bytes"] / 1e6
        size = f"{megabytes:.0f} MB" if megabytes > 100 else f"{megabytes:.1f} MB"
        setting = line["classes"], line["features"] or "all", line["dtype"]
        rows.append([*setting, *ratios, size, f"{line['end_epoch_cpu']:.2f} s"])
    header = "| classes | features | logits | hard labels | mixup targets | of which the loss | state | `end_epoch` |"
    return table(header, rows)


def tabled_epoch(record):
    seconds, size = record["cpu"], record["bytes"]
    megabytes = [f"{size[way] / 1e6:.1f}" for way in ("streamed", "lists")]
    rows = [
        ["CPU s", shown(seconds["streamed"]), shown(seconds["lists"]), shown(record["cpu_ratio"])],
        ["MB", *megabytes, f"1/{size['lists'] / size['streamed']:.1f}"],
    ]
    return table("| ImageNet-LT, 905 batches | streamed | lists | ratio |", rows)


def main():
    parser = parser_of(__doc__, required=True, help="JSON lines are appended here")
    parser.add_argument("--only", choices=("all", "step", "epoch", "none"), default="all")
    parser.add_argument("--classes", type=int, nargs="+", default=list(DATA_SETS), choices=list(DATA_SETS))
    parser.add_argument("--features", type=int, nargs="+", default=[0], help="logits that count, 0 for all")
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--repeats", type=int, default=100, help="turns of each variant; 8142 classes take a tenth")
    parser.add_argument("--epochs", type=int, default=3, help="rounds of the epoch")
    args = parser.parse_args()
    torch.set_num_threads(1)
    machine = torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else "1 CPU thread"

    def keep(kind, record):
        record = {"kind": kind, "torch": torch.__version__, "machine": machine, **record}
        add_line(record, args.out)
        print(json.dumps(record), file=sys.stderr, flush=True)

    if args.only in ("all", "step"):
        for setting in itertools.product(args.classes, args.features, (torch.float32, torch.bfloat16)):
            classes, features, dtype = setting
            repeats = args.repeats if classes < 5000 else args.repeats // 10
            keep("step", step(classes, dtype, repeats, args.device, features or None))
    if args.only in ("all", "epoch"):
        keep("epoch", epoch(args.epochs))
    records = lines_of(args.out)
    print("\n\n".join([tabled(records), *map(tabled_epoch, (line for line in records if line["kind"] == "epoch"))]))


if __name__ == "__main__":
    main()
