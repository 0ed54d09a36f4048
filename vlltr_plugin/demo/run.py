"""The demonstration: stand-in checkout, install, baseline and class volume, comparison."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .comparison import GroupAccuracy, compare_groups, comparison_table
from .digits import long_tailed_counts
from .standin_checkout import BASELINE, CLASS_VOLUME, LogLine, make_standin
from .watched_run import WatchedRun

DEFAULT_EPOCHS = 30
RESUME_EPOCHS = 6  # of a third, short run that is killed half-way


def run_demo(
    out: Path | None = None,
    epochs: int = DEFAULT_EPOCHS,
    keep: bool = False,
    console: Console | None = None,
) -> list[GroupAccuracy]:
    """Train baseline and class volume on long-tailed digits in a stand-in checkout, and print both results.

    Args:
        out: New or empty folder for the checkout, which stays. Default: a temporary folder.
        epochs: Epochs of each of the two runs.
        keep: Leave the temporary folder in place.
        console: Where to print.

    Returns:
        The test accuracies that were printed.

    Raises:
        ValueError: `epochs` is less than 1.
        FileExistsError: `out` holds something already.
        RuntimeError: A run failed.
    """
    if epochs < 1:
        raise ValueError(f"Expected `epochs` of at least 1, but got {epochs}")
    console = console or Console()
    folder = Path(tempfile.mkdtemp(prefix="vlltr-plugin-demo-")) if out is None else Path(out)
    stays = keep or out is not None
    try:
        groups = _demonstrate(make_standin(folder).resolve(), epochs, console)
        _print_whereabouts(folder.resolve(), stays, console)
    finally:
        if not stays:
            shutil.rmtree(folder, ignore_errors=True)
    return groups


def _demonstrate(checkout: Path, epochs: int, console: Console) -> list[GroupAccuracy]:
    from vlltr_plugin.install import install
    from vlltr_plugin.install.recipe import MARKER

    console.print(f"Stand-in checkout: {escape(str(checkout))}", soft_wrap=True)
    console.print(f"Digits 0 to 9, training images: {long_tailed_counts()}")
    install(checkout)
    inserted = [line for line in (checkout / "main.py").read_text(encoding="utf-8").splitlines() if MARKER in line]
    console.print(f"Installed the plug-in into it, {len(inserted)} lines in main.py:")
    for line in inserted:
        console.print(f"  [green]+ {escape(line.strip())}[/green]", soft_wrap=True, highlight=False)
    console.print("Training by its own main.py: two branches, mixup and CutMix, 1/sqrt(n) sampler.")

    device = "cuda" if torch.cuda.is_available() else "cpu"
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, console=console) as progress:
        baseline = WatchedRun(checkout, BASELINE, epochs, device, progress, "baseline", "digits_baseline")
        class_volume = WatchedRun(checkout, CLASS_VOLUME, epochs, device, progress, "class volume", "digits_dv")
        # A run of its own: the host saves no state of the random generators, so a resumed run draws other images.
        resumed = WatchedRun(checkout, CLASS_VOLUME, RESUME_EPOCHS, device, progress, "resume test", "digits_resumed")
        baseline.train()
        class_volume.train()
        resumed.train(stop_after=RESUME_EPOCHS // 2)
        lines_before = len(resumed.log())
        resumed.train()
    resumed_at = resumed.log()[lines_before].get("epoch", RESUME_EPOCHS)
    console.print(f"The resume test was killed on purpose and started again: it went on at epoch {resumed_at}.")
    console.print(_weights_line(class_volume.log()))
    groups = compare_groups(baseline.log()[-1], class_volume.log()[-1])
    console.print(comparison_table(groups))
    console.print(
        "One run each: read the differences beside their standard errors, which cover\n"
        "the choice of test images only. many: >= 100 training images a class, few: <= 20.\n"
        "As in VL-LTR, the groups are scored by the sum of both branches' logits, and\n"
        "overall by the mixture of their softmaxes. How much of it the class counts alone\n"
        "would do, a control run shows: reweight=dict(type='inverse') in the config.",
        soft_wrap=True,
    )
    return groups


def _weights_line(log: list[LogLine]) -> str:
    last = [line for line in log if "epoch" in line][-1]
    prefix = "train_reweight_"
    if f"{prefix}alpha_max" not in last:
        raise RuntimeError(
            f"Expected the class-volume run to log {prefix}alpha_max, but it logged {sorted(last)}: "
            "the plug-in was not at work; please report this"
        )
    lowest, middle, highest = (last[f"{prefix}alpha_{name}"] for name in ("min", "median", "max"))
    return (
        f"Class weights alpha in the last epoch: {lowest:.2f} to {highest:.2f}, median {middle:.2f};\n"
        f"E(alpha) over the expected draws: {last[f'{prefix}expected_alpha']:.6f}."
    )


def _print_whereabouts(checkout: Path, stays: bool, console: Console) -> None:
    if stays:
        console.print(f"In {escape(str(checkout / 'checkpoints'))}, for each run:", soft_wrap=True)
        console.print("  log.txt         a JSON line per epoch; class volume adds train_reweight_*")
        console.print("  checkpoint.pth  the last epoch's; class volume adds the key reweight")
        console.print("  reweight/*.npz  class volume only: counts, radii and weights of each epoch")
    else:
        console.print(
            "The folder is removed now; --keep or --out DIR leaves logs, checkpoints, weights.", soft_wrap=True
        )
    console.print("Next: vlltr-plugin install CHECKOUT, on your own VL-LTR checkout; see README.md.")
