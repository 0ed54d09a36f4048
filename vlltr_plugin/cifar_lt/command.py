"""What `vlltr-plugin cifar-lt` does with its options."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vlltr_plugin.cifar_lt.batches import Batches
from vlltr_plugin.cifar_lt.data import from_npz, from_torchvision
from vlltr_plugin.cifar_lt.methods import METHODS
from vlltr_plugin.cifar_lt.plot import draw
from vlltr_plugin.cifar_lt.recipe import Recipe
from vlltr_plugin.cifar_lt.results import read
from vlltr_plugin.cifar_lt.sweep import Sweep
from vlltr_plugin.cifar_lt.tables import tables
from vlltr_plugin.core.registry import nearest

PRESETS: dict[str, Recipe] = {"full": Recipe(), "short": Recipe(epochs=30, evaluate_every=6)}


def run_cifar_lt(options: argparse.Namespace) -> None:
    """Trains what the options ask for and the results file does not hold yet, or shows what it holds.

    Raises:
        DataError: when the images cannot be had.
        ResultsError: when the results file is not one.
        ValueError: for an unknown method or an option out of range.
        MissingExtraError: for a plot without matplotlib.
        OSError: when a file cannot be read or written.
    """
    if options.table or options.plot:
        _show(options)
    else:
        _train(options)


def _show(options: argparse.Namespace) -> None:
    runs = read(options.results)
    if not runs:
        raise ValueError(f"Expected results in {options.results} but it holds no finished run yet.")
    if options.table:
        print("\n".join(sheet.markdown() for sheet in tables(runs)))
    if options.plot:
        print(f"wrote {draw(runs, options.plot)}")


def _train(options: argparse.Namespace) -> None:
    for name in options.method:
        if name not in METHODS:
            raise ValueError(f"Expected a known method but got {name!r}{nearest(name, METHODS)}")
    if options.threads:
        torch.set_num_threads(options.threads)
    device = _device(options.device)
    torch.backends.cudnn.allow_tf32 = False  # results of all devices are float32's, unless --amp says otherwise
    recipe = recipe_of(options)
    npz: Path | None = options.npz
    data = from_npz(npz) if npz else from_torchvision(options.dataset, options.imbalance, options.data)
    batches = Batches(data, device, recipe.sampler, recipe.batch_size, recipe.mixup)
    labels = {"dataset": options.dataset, "imbalance": options.imbalance}
    sweep = Sweep(batches, labels, recipe, options.results, options.share_warmup, options.together, _say)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    sweep.run(options.method, list(seeds))


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The preset with what the options change in it."""
    preset = PRESETS[options.preset]
    names = ("epochs", "start_epoch", "sampler", "mixup", "batch_size", "evaluate_every", "amp", "compile")
    given: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if "epochs" in given and "start_epoch" not in given:
        given["start_epoch"] = -1
    return replace(preset, **given)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("Expected a GPU for --device cuda but torch finds none: give --device cpu or auto.")
    return device


def _say(line: str) -> None:
    print(line, flush=True)
