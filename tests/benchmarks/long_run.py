"""Memory and time of the core over a long run: are they flat?

python tests/benchmarks/long_run.py --out tests/benchmarks/results/long_run.jsonl
"""

import argparse
import gc
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from vlltr_plugin import ClassVolume, ReweightedLoss


def held_by(criterion: ReweightedLoss) -> dict[str, int]:
    """Bytes in RAM (of Linux), tensors that Python knows of and their bytes, and those that a checkpoint would get."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    saved = [value for value in criterion.state_dict().values() if isinstance(value, torch.Tensor)]
    return {
        "resident_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        "live_tensors": len(tensors),
        "live_tensor_bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        "state_bytes": sum(tensor.nbytes for tensor in saved),
    }


def long_run(
    epochs: int, steps: int, classes: int, *, batch: int = 64, mixed: bool = True, look_every: int = 10
) -> Iterator[dict[str, float]]:
    """A line for each epoch of the criterion, forwards and backwards, on made-up logits that stay the same.

    It has the seconds of the clock and of the CPU and, every `look_every` epochs, memory, tensors and state at its end.
    """
    generator = torch.Generator().manual_seed(0)
    criterion = ReweightedLoss(ClassVolume([max(2, steps * batch // classes)] * classes))
    logits = torch.randn(steps, batch, classes, generator=generator)
    labels = torch.randint(classes, (steps, batch), generator=generator)
    hard = torch.nn.functional.one_hot(labels, classes).float()
    targets = 0.7 * hard + 0.3 * hard.flip(1) if mixed else labels
    for epoch in range(epochs):
        start = time.perf_counter(), time.process_time()
        for step in range(steps):
            leaf = logits[step].clone().requires_grad_()
            criterion(leaf, targets[step]).backward()
        criterion.end_epoch(epoch)
        seconds, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        line: dict[str, float] = {"epoch": epoch, "seconds": round(seconds, 4), "cpu_seconds": round(cpu, 4)}
        if (epoch + 1) % look_every == 0:
            line |= held_by(criterion)
        yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=360)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--classes", type=int, default=365)
    parser.add_argument("--warm-up", type=int, default=20, help="epochs before memory and time should be flat")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for line in long_run(args.epochs, args.steps, args.classes):
        lines.append(line)
        if args.out:
            with args.out.open("a" if line["epoch"] else "w") as file:
                file.write(json.dumps(line) + "\n")
    looks = [line for line in lines if "resident_bytes" in line and line["epoch"] + 1 >= args.warm_up]
    for name in ("resident_bytes", "live_tensors", "live_tensor_bytes", "state_bytes"):
        print(f"{name}: {looks[0][name]:,} after {args.warm_up} epochs, {looks[-1][name]:,} at the end")
    rest = lines[args.warm_up :]
    quarter = len(rest) // 4
    for title, part in (("first", rest[:quarter]), ("last", rest[-quarter:])):
        seconds = sorted(line["cpu_seconds"] for line in part)
        print(f"CPU seconds of an epoch, {title} quarter: median {seconds[len(seconds) // 2]}, least {seconds[0]}")


if __name__ == "__main__":
    main()
