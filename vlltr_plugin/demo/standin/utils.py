"""Averages for the log, the processes of a distributed run, and the config file."""

import argparse
import datetime
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from mmcv import Config
from torch.utils.data import DataLoader, Dataset, SequentialSampler

Item = TypeVar("Item")


class SmoothedValue:
    """A number over time: its last values, and its average since the start."""

    def __init__(self, window_size: int = 20) -> None:
        self.window: deque[float] = deque(maxlen=window_size)
        self.total = 0.0
        self.count = 0

    def update(self, value: float, n: int = 1) -> None:
        """Add `value`, as the mean of `n` observations."""
        self.window.append(value)
        self.total += value * n
        self.count += n

    def synchronize_between_processes(self) -> None:
        """Add up total and count over all ranks (the window stays local)."""
        if get_world_size() > 1:
            device = "cuda" if dist.get_backend() == "nccl" else "cpu"
            sums = torch.tensor([self.total, self.count], dtype=torch.float64, device=device)
            dist.all_reduce(sums)
            self.total, self.count = float(sums[0]), int(sums[1])

    @property
    def global_avg(self) -> float:
        """The average of everything seen."""
        return self.total / max(self.count, 1)

    def __str__(self) -> str:
        recent = sum(self.window) / max(len(self.window), 1)
        return f"{recent:.4f} ({self.global_avg:.4f})"


class MetricLogger:
    """A `SmoothedValue` for each name, and a loop that prints them."""

    def __init__(self, delimiter: str = "  ") -> None:
        self.meters: dict[str, SmoothedValue] = {}
        self.delimiter = delimiter

    def update(self, **values: float) -> None:
        """Add one observation of each name."""
        for name, value in values.items():
            self.meters.setdefault(name, SmoothedValue()).update(float(value))

    def averages(self) -> dict[str, float]:
        """Return the average of each name."""
        return {name: meter.global_avg for name, meter in self.meters.items()}

    def synchronize_between_processes(self) -> None:
        """Make every average that of all ranks."""
        for average in self.meters.values():
            average.synchronize_between_processes()

    def log_every(self, iterable: Iterable[Item], print_freq: int, header: str = "") -> Iterator[Item]:
        """Yield the items, printing the averages after each `print_freq` of them, and the time at the end."""
        start, length = time.time(), len(iterable)  # type: ignore[arg-type]
        for number, item in enumerate(iterable, start=1):
            yield item
            if number % print_freq == 0:
                print(f"{header} [{number}/{length}]  {self}  time {time.time() - start:.1f} s")
        seconds = time.time() - start
        print(f"{header} Total time: {clock(seconds)} ({seconds / max(length, 1):.4f} s / it)")

    def __str__(self) -> str:
        return self.delimiter.join(f"{name}: {meter}" for name, meter in self.meters.items())


def clock(seconds: float) -> str:
    """Return a time in whole seconds as H:MM:SS."""
    return str(datetime.timedelta(seconds=int(seconds)))


def get_world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def get_rank() -> int:
    """Return the number of this process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_main_process() -> bool:
    """Say whether this is the process that writes."""
    return get_rank() == 0


def save_on_master(state: dict[str, Any], path: Path) -> None:
    """Save on rank 0."""
    if is_main_process():
        torch.save(state, path)


def init_distributed_mode(args: argparse.Namespace) -> None:
    """Join the process group that the launcher announced in the environment, if it did."""
    args.distributed = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    if not args.distributed:
        return
    args.rank = int(os.environ["RANK"])
    args.world_size = int(os.environ["WORLD_SIZE"])
    args.gpu = int(os.environ["LOCAL_RANK"])
    on_gpu = args.device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(args.gpu)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=args.dist_url,
        world_size=args.world_size,
        rank=args.rank,
    )
    dist.barrier()


def sequential_loader(dataset: Dataset[Any], args: argparse.Namespace) -> DataLoader[Any]:
    """Return a loader of the whole split in order; every rank evaluates all of it."""
    return DataLoader(
        dataset,
        sampler=SequentialSampler(dataset),
        batch_size=4 * args.batch_size,
        num_workers=args.num_workers,
        pin_memory=args.pin_mem,
    )


def update_from_config(args: argparse.Namespace) -> None:
    """Set every key of every top-level dict of the config on `args`, over the command line."""
    for section in Config.fromfile(args.config).values():
        for key, value in section.items():
            setattr(args, key, value)
    if not args.output_dir:
        args.output_dir = str(Path("checkpoints") / Path(args.config).stem)
    if not args.resume:
        args.resume = str(Path(args.output_dir) / "checkpoint.pth")
