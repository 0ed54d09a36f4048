"""What merging the statistics over ranks costs: collectives, bytes, seconds and memory of `end_epoch`.

Real processes on one machine (Linux), with gloo, or on GPUs, taken in turn; then the arithmetic for 8 GPUs.

    python tests/benchmarks/ranks.py --out ranks.jsonl
    python tests/benchmarks/ranks.py --ranks --out tests/benchmarks/results/ranks.jsonl    # tables alone
    python tests/benchmarks/ranks.py --backend nccl --ranks 2 --out nccl.jsonl    # on GPUs; prints NCCL's refusal
"""

import itertools
import json
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from common import Peak, add_line, lines_of, parser_of, table

from vlltr_plugin import ClassVolume

DATA_SETS = {"Places-LT": 365, "ImageNet-LT": 1000, "iNaturalist 2018": 8142, "ImageNet-21k": 21841}


def filled(classes, rank, features=None, device="cpu"):
    """Statistics as in the middle of an epoch, every page of them touched; ranks differ in their pivots."""
    weighting = ClassVolume([100] * classes, features=features).to(device)
    moments = weighting._moments = weighting.empty_moments(weighting.device64)
    filling = {"mass": 20.0, "mass_squared": 20.0, "pivot": float(rank), "sum": 1.0, "second": 30.0}
    for name, value in filling.items():
        getattr(moments, name).fill_(value)
    return weighting


def count_collectives():
    """The bytes of the tensors that collectives will be given, as a list that grows."""
    given = []

    def counted(collective):
        def call(tensor, *args, **kwargs):
            given.append(tensor.nbytes)
            return collective(tensor, *args, **kwargs)

        return call

    dist.all_reduce, dist.broadcast = counted(dist.all_reduce), counted(dist.broadcast)
    return given


def one_rank(rank, world, classes, features, backend, folder):
    torch.set_num_threads(1)
    device = f"cuda:{rank % torch.cuda.device_count()}" if backend == "nccl" else "cpu"
    if device != "cpu":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    filled(8, rank, device=device).end_epoch()  # connects, loads what is loaded once
    weighting = filled(classes, rank, features, device)
    calls = count_collectives()
    state = sum(t.nbytes for t in vars(weighting._moments).values() if isinstance(t, torch.Tensor))
    peak, wall, cpu = Peak(device), time.perf_counter(), time.process_time()
    weighting.end_epoch()
    extra = peak.extra()
    record = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "state": state, "extra": extra}
    record |= {"collectives": len(calls), "payload": sum(calls)}
    Path(folder, f"{rank}.json").write_text(json.dumps(record))
    dist.destroy_process_group()


def measure(world, classes, features, backend):
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(one_rank, args=(world, classes, features, backend, folder), nprocs=world)
        ranks = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(world)]
    worst = {key: max(rank[key] for rank in ranks) for key in ranks[0]}
    told = {"world": world, "classes": classes, "features": features, "torch": torch.__version__}
    return told | ({"backend": backend} if backend != "gloo" else {}) | worst


def tabled(records):
    rows = []
    for r in records:
        given, extra = (
            f"{r[key] / 1e6:{digits}f} MB ({r[key] / r['state']:.2f} of the state)"
            for key, digits in (("payload", ".1"), ("extra", ".0"))
        )
        about = r["classes"], r["features"] or "all", r["world"], r["collectives"]
        rows.append([*about, given, extra, f"{r['cpu']:.2f}"])
    header = "| C | features | ranks | collectives | given to them | extra memory at the peak | CPU s of a rank |"
    return table(header, rows)


def eight_ranks():
    """By arithmetic, for a ring of eight: bytes of a rank, while ranks merge, and sent in an epoch."""
    rows = []
    for (name, classes), features in itertools.product(DATA_SETS.items(), (None, 512)):
        if features is None or features < classes:
            tensor, vector = 4 * classes * (features or classes), 8 * classes
            sent = 2 * 7 / 8 * (3 * tensor + 4 * vector)  # by each of 8 ranks around a ring
            sizes = 3 * tensor + 2 * vector, 4 * tensor + 3 * vector, sent
            rows.append([name, f"{classes:,}", features or "all", *(f"{value / 1e6:,.1f} MB" for value in sizes)])
    header = "| data set | classes | features | state of a rank | while ranks merge | sent by each rank an epoch |"
    return table(header, rows)


def main():
    parser = parser_of(__doc__, required=True, help="JSON lines are appended here")
    parser.add_argument("--ranks", type=int, nargs="*", default=[2, 4])
    parser.add_argument("--classes", type=int, nargs="+", default=[365, 1000, 8142])
    parser.add_argument("--features", type=int, nargs="+", default=[0], help="logits that count, 0 for all")
    parser.add_argument("--backend", choices=("gloo", "nccl"), default="gloo")
    args = parser.parse_args()
    if args.backend == "nccl" and args.ranks and not torch.cuda.is_available():
        raise SystemExit("Expected a GPU for nccl but there is none.")
    for classes, features, world in itertools.product(args.classes, args.features, args.ranks):
        if features < classes:
            try:
                add_line(measure(world, classes, features or None, args.backend), args.out)
            except mp.ProcessRaisedException as error:
                reason = str(error).strip().splitlines()[-1]
                raise SystemExit(f"{args.backend} refused {world} ranks: {reason}") from error
    print(tabled(lines_of(args.out)), eight_ranks(), sep="\n\n")


if __name__ == "__main__":
    main()
