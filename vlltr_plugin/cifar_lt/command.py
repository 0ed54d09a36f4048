"""Runs the command `vlltr-plugin cifar-lt`."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vlltr_plugin.cifar_lt.batches import Batches
from vlltr_plugin.cifar_lt.data import DataError, LongTailed, from_npz, from_torchvision, labels_of_file
from vlltr_plugin.cifar_lt.methods import FEATURES, METHODS
from vlltr_plugin.cifar_lt.plot import draw
from vlltr_plugin.cifar_lt.results import read
from vlltr_plugin.cifar_lt.sweep import Sweep
from vlltr_plugin.cifar_lt.tables import notes, tables
from vlltr_plugin.cifar_lt.training import Schedule
from vlltr_plugin.core.registry import nearest
from vlltr_plugin.report.pictures import require_matplotlib

DATASET, IMBALANCE = "cifar10", 100  # default data, without `--dataset`, `--imbalance` and `--npz`

_say = partial(print, flush=True)

PRESETS: dict[str, Schedule] = {"full": Schedule(), "short": Schedule(epochs=30, evaluate_every=6)}


def run_cifar_lt(options: argparse.Namespace) -> None:
    """Trains the requested runs that are not in the results file yet, or shows the file's tables.

    Raises ValueError for unusable options, images or results (`DataError`, `ResultsError`).
    """
    if options.table or options.plot:
        _show(options)
    else:
        _train(options)


def _show(options: argparse.Namespace) -> None:
    if options.plot and options.plot.exists() and options.plot.samefile(options.results):
        raise ValueError(f"Expected --plot to name a picture but {options.plot} is the results file.")
    runs = read(options.results)
    if not runs:
        raise ValueError(f"Expected results in {options.results} but it holds no finished run yet.")
    if options.plot:
        require_matplotlib()  # check before printing tables
    try:
        drawn = (
            draw(runs, options.plot) if options.plot else None
        )  # files first: the reader of the tables may close the pipe
    finally:
        if options.table:
            print("\n".join(sheet.markdown() for sheet in tables(runs)))
            print("".join(f"- {note}\n" for note in notes(runs)), end="")
    if drawn:
        print(f"wrote {drawn}")


def _train(options: argparse.Namespace) -> None:
    for name in options.method:
        if name not in METHODS:
            raise ValueError(f"Expected a known method but got {name!r}{nearest(name, METHODS)}")
    if options.first_seed < 0:
        raise ValueError(f"Expected --first-seed to be 0 or more but got {options.first_seed}.")
    if options.results.is_dir():
        raise ValueError(f"Expected --results to name a file but {options.results} is a folder.")
    if options.threads:
        torch.set_num_threads(options.threads)
    device = _device(options.device)
    torch.backends.cudnn.allow_tf32 = False  # results of all devices are float32's, unless --amp says otherwise
    names = ("epochs", "start_epoch", "sampler", "mixup", "batch_size", "evaluate_every", "amp", "compile")
    given: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if "epochs" in given:
        given.setdefault("start_epoch", -1)  # the default of that many epochs, not the preset's
    schedule = replace(PRESETS[options.preset], **given)
    data, labels = _images(options)
    for name in options.method:
        if METHODS[name].has_no_volume(data.num_classes):
            raise ValueError(
                f"Expected fewer principal axes than the {FEATURES} features of ResNet-32 but {name!r} takes "
                f"{data.num_classes}: no class has a volume then, every weight stays 1. Take pv10, pv10-mean, dv or bv."
            )
    batches = Batches(data, device, schedule.sampler, schedule.batch_size, schedule.mixup)
    sweep = Sweep(batches, labels, schedule, options.results, options.share_warmup, options.together, _say)
    sweep.run(options.method, list(range(options.first_seed, options.first_seed + options.seeds)))


def _images(options: argparse.Namespace) -> tuple[LongTailed, dict[str, Any]]:
    """The images that the options select, and their labels in the results file."""
    imbalance = options.imbalance
    if imbalance is not None:
        if not 1 <= imbalance < math.inf:
            raise DataError(f"Expected --imbalance to be 1 or more but got {imbalance:g}.")
        imbalance = int(imbalance) if imbalance == int(imbalance) else imbalance  # one spelling in the results
    npz: Path | None = options.npz
    if npz is None:
        dataset, imbalance = options.dataset or DATASET, imbalance or IMBALANCE
        return from_torchvision(dataset, imbalance, options.data), {"dataset": dataset, "imbalance": imbalance}
    data = from_npz(npz)
    labels = labels_of_file(npz, data, options.dataset, imbalance)
    if options.dataset not in (None, labels["dataset"]):
        _say(f"{npz}: the test images are not those of {options.dataset}: the results call them {labels['dataset']}")
    return data, labels


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"Expected --device to be auto, cpu or cuda but got {name!r}.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("Expected a GPU for --device cuda but torch finds none: give --device cpu or auto.")
    return device
