"""The demonstration: stand-in checkout, install, baseline, inverse frequency, class volume in both forms, `compare`."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vlltr_plugin.errors import UserError
from vlltr_plugin.hosts import host_of_checkout
from vlltr_plugin.hosts.evaluation import EvaluateRequest
from vlltr_plugin.report.compare import (
    Comparison,
    Method,
    compare,
    load_run,
    plain_console,
    print_comparison,
    print_files,
    write_report,
)
from vlltr_plugin.report.evaluate.checkpoint import run_evaluation
from vlltr_plugin.report.evaluate.evaluation import Sweep
from vlltr_plugin.report.inspect import inspect_run, write_pictures
from vlltr_plugin.report.pictures import MissingExtraError, require

from .digits import long_tailed_counts
from .standin_checkout import ADJUSTED, BASELINE, CLASS_VOLUME, CONTROL, LogLine, WatchedRun, demo_folder, make_standin
from .verdict import standard_errors, verdict

DEFAULT_EPOCHS = 30
METHODS = {
    "baseline": BASELINE,
    "inverse frequency": CONTROL,
    "class volume": CLASS_VOLUME,
    "class volume as margins": ADJUSTED,
}
RESUME_EPOCHS = 6  # epochs of one more, short run that is killed half-way


def run_demo(
    out: Path | None = None,
    epochs: int = DEFAULT_EPOCHS,
    keep: bool = False,
    console: Console | None = None,
) -> Comparison:
    """Trains baseline, inverse frequency and class volume (both forms) in a stand-in checkout, and compares them.

    Raises:
        ValueError: `epochs` is less than 1.
        FileExistsError: `out` is not empty.
        MissingExtraError: scikit-learn is not installed; nothing was written.
        RuntimeError: A run failed; `out` is restored then, as after an interruption.
    """
    if epochs < 1:
        raise ValueError(f"Expected `epochs` of at least 1, but got {epochs}")
    console = console or plain_console()
    try:
        require("sklearn", "matplotlib", extra="demo")
    except MissingExtraError as missing:
        if importlib.util.find_spec("sklearn") is None:  # scikit-learn has the digits
            raise
        console.print(f"[yellow]There will be no pictures: {escape(str(missing))}[/]", soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="vlltr-plugin-demo-")) if out is None else Path(out)
    stays = keep or out is not None
    try:
        with demo_folder(folder):
            comparison = _demonstrate(make_standin(folder).resolve(), epochs, console)
            _print_whereabouts(comparison, folder.resolve(), stays, console)
    finally:
        if not stays:
            shutil.rmtree(folder, ignore_errors=True)
    return comparison


def _demonstrate(checkout: Path, epochs: int, console: Console) -> Comparison:
    from vlltr_plugin.install import MARKER, install

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
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, console=console) as progress:
        runs = {
            title: WatchedRun(checkout, config, epochs, device, progress, title, Path(config).stem)
            for title, config in METHODS.items()
        }
        # A separate run: the host does not save the random generators' state, so a resumed run draws other images.
        resumed = WatchedRun(checkout, CLASS_VOLUME, RESUME_EPOCHS, device, progress, "resume test", "digits_resumed")
        for run in runs.values():
            run.train()
        resumed.train(stop_after=RESUME_EPOCHS // 2)
        lines_before = len(resumed.log())
        resumed.train()
    resumed_at = resumed.log()[lines_before].get("epoch", RESUME_EPOCHS)
    console.print(f"The resume test was killed on purpose and started again: it went on at epoch {resumed_at}.")
    baseline, inverse, class_volume, _ = runs.values()
    console.print(_weights_line(class_volume.log()))
    comparison = compare([Method(title, (load_run(run.output_dir),)) for title, run in runs.items()])
    print_comparison(comparison, console)
    errors = ", ".join(f"{title} {error:.1f}" for title, error in standard_errors(comparison).items())
    console.print(
        f"One run each: read the test differences beside their standard errors ({errors}),\n"
        "which cover the choice of test images only.",
        soft_wrap=True,
        highlight=False,
    )
    console.print("\n[bold]What to make of it[/]")
    after = _adjusted_after_training(checkout, baseline, device, console)
    logs = [run.log() for run in (baseline, inverse, class_volume)]
    for line in verdict(comparison, logs, inspect_run(class_volume.output_dir)[0], after):
        console.print(escape(line), soft_wrap=console.width > 200, highlight=False)
    return comparison


def _adjusted_after_training(
    checkout: Path, run: WatchedRun, device: str, console: Console
) -> dict[str, float | None] | None:
    """The run's trade-off curve at the tau chosen on validation; None, with a message, if evaluation fails."""
    request = EvaluateRequest(run.output_dir, checkout=checkout, device=device)
    try:
        content = run_evaluation(host_of_checkout(checkout), request, Sweep()).content["trade_off"]
    except UserError as error:
        console.print(f"[yellow]The baseline was not adjusted after training: {escape(str(error))}[/]", soft_wrap=True)
        return None
    rows: list[dict[str, float | None]] = content["rows"]
    return next(row for row in rows if row["tau"] == content["choice"]["tau"])


def _weights_line(log: list[LogLine]) -> str:
    last = [line for line in log if "epoch" in line][-1]
    prefix = "train_reweight_"
    if f"{prefix}alpha_max" not in last:
        raise RuntimeError(
            f"Expected the class-volume run to log {prefix}alpha_max, but it logged {sorted(last)}: "
            "the plug-in was not active; please report this"
        )
    lowest, middle, highest = (last[f"{prefix}alpha_{name}"] for name in ("min", "median", "max"))
    return (
        f"Class weights alpha in the last epoch: {lowest:.2f} to {highest:.2f}, median {middle:.2f};\n"
        f"E(alpha) over the expected draws: {last[f'{prefix}expected_alpha']:.6f}."
    )


def _print_whereabouts(comparison: Comparison, checkout: Path, stays: bool, console: Console) -> None:
    """Writes the report, and prints where everything is."""
    if not stays:
        console.print(
            "The folder is removed now; --keep or --out DIR leaves the report with its pictures, logs, checkpoints,\n"
            "weights.",
            soft_wrap=True,
        )
    else:
        report, run = checkout / "report", checkout / "checkpoints" / "digits_dv"
        pictures: list[Path] = []
        if run.is_dir() and importlib.util.find_spec("matplotlib") is not None:
            pictures = [path for inspection in inspect_run(run) for path in write_pictures(inspection, None, report)]
        print_files([*write_report(comparison, report), *pictures], console)
        opener = {"darwin": "open", "win32": "start"}.get(sys.platform, "xdg-open")
        console.print(
            f"All of it is in {escape(str(checkout))}; to look at it: {opener} {escape(str(report))}", soft_wrap=True
        )
        console.print("In checkpoints/ there, for each run:")
        console.print("  log.txt         a JSON line per epoch; re-weighted runs add train_reweight_*")
        console.print("  checkpoint.pth  the last epoch's; re-weighted runs add the key reweight")
        console.print("  reweight/*.npz  re-weighted runs only: counts, radii and weights of each epoch")
    console.print("Next: vlltr-plugin install CHECKOUT, on your own VL-LTR checkout; see README.md.")
