"""`check` for VL-LTR: its main.py builds model, data and criterion in a separate process, where they are checked.

If main.py fails before it calls `attach`, the checks that need only its arguments still run.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vlltr_plugin.check import CheckResult, Checks, SkipError
from vlltr_plugin.core.arguments import listed
from vlltr_plugin.core.class_volume import ClassVolume
from vlltr_plugin.core.epoch_statistics import expected_alpha
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.checks import (
    STEP,
    add_from_host,
    check_device,
    check_installed,
    check_logits,
    finite_losses,
    host_code,
    sent,
)
from vlltr_plugin.hosts.door import Send, describe_error
from vlltr_plugin.hosts.host import CheckRequest
from vlltr_plugin.hosts.vl_ltr.attach import apply
from vlltr_plugin.hosts.vl_ltr.branches import BRANCHES
from vlltr_plugin.hosts.vl_ltr.checked_files import (
    Run,
    check_embeddings,
    check_output,
    check_stage_one,
    refuse_unfilled,
)
from vlltr_plugin.hosts.vl_ltr.evaluate import main_frame, refuse_pretraining
from vlltr_plugin.hosts.vl_ltr.host import config_path
from vlltr_plugin.hosts.vl_ltr.plan import misfit, plan
from vlltr_plugin.training.draws import class_counts_of
from vlltr_plugin.training.hook import Hook
from vlltr_plugin.training.settings import misspelling, parse, reweight_setting

SAMPLE = 32
"""Number of images opened in each split, evenly spaced over its list."""


def run_checks(request: CheckRequest, say: Callable[[CheckResult], None]) -> Checks:
    """Checks everything that a run needs; writes nothing."""
    if request.config is None:
        raise ReportError("Expected the CONFIG of the run, such as configs/class_volume/imagenet_lt_r50_dv.py.")
    config = config_path(request.config, request.checkout)
    check_device(request.device)
    checks = Checks(say)
    arguments = ["--config", str(config), "--device", request.device, *request.host_args]
    task = f"{__name__}:check_run"
    add_from_host(checks, request.checkout.resolve(), arguments, task, written=("cached",), safe_pickle=True)
    return checks


def check_run(parts: dict[str, Any], *, send: Send, checkout: str) -> None:
    """Runs in the host's process, with the arguments that main.py passes to `attach`."""
    _check_all(Run(Path(checkout), parts.pop("args"), parts), sent(send))


def check_run_failed(error: Exception, frames: list[FrameType], *, send: Send, checkout: str) -> None:
    """Runs in the host's process if main.py failed before it called `attach`."""
    main = main_frame(frames)
    if main is None:
        raise error
    in_model = any(frame.f_code.co_name == "create_model" for frame in frames)
    _check_all(Run(Path(checkout), main.f_locals["args"], {}, error, in_model), sent(send))


def _check_all(run: Run, checks: Checks) -> None:
    refuse_pretraining(run.args)
    splits = ["train", "val", "test"] if getattr(run.args, "test", False) else ["train", "val"]
    lists = [f"{split} list" for split in splits]
    checks.run("config", partial(_check_config, run.args))
    checks.run("plug-in", partial(check_installed, run.checkout, reweight_setting(run.args) is not None))
    for split, name in zip(splits, lists, strict=True):
        checks.run(name, partial(_check_list, run, split))
    checks.run("images", partial(_check_images, run))
    checks.run("classes", partial(_check_classes, run), needs=["train list"])
    checks.run("sentences", partial(_check_sentences, run), needs=["train list"])
    checks.run("stage one", partial(check_stage_one, run))
    checks.run("embeddings", partial(check_embeddings, run), needs=["sentences"])
    data = [*lists, "classes", "sentences", "stage one", "embeddings"]
    checks.run("model", partial(_check_model, run), needs=data)
    checks.run("training", partial(_check_training, run), needs=["model"])
    checks.run("reweight", partial(_check_reweight, run))
    checks.run("weights", partial(_check_weights, run), needs=["training", "reweight"])
    checks.run("memory", partial(_check_memory, run), needs=["training", "reweight"])
    checks.run("output", partial(check_output, run))
    checks.run("step", partial(_check_step, run), needs=["images", "training"])


def _check_config(args: argparse.Namespace) -> str:
    for name in ("eval", "debug"):
        if getattr(args, name, False):
            raise ReportError(f"Expected a run that trains but {name} is set.")
    branches = "two branches" if getattr(args, "two_branch", False) else "one branch"
    data_set = getattr(args, "data_set", None) or getattr(args, "data_path", "")
    return f"{args.model} on {data_set}, {branches}, {args.epochs} epochs of batches of {args.batch_size} a process"


def _check_list(run: Run, split: str) -> str:
    if split == "train" and run.parts:
        data_set = run.parts["dataset"]
    else:
        with host_code():
            data_set, classes = importlib.import_module("datasets").build_dataset(split=split, args=run.args)
        if split == "train":
            run.args.nb_classes = classes
    images, batch = len(data_set), int(run.args.batch_size)
    if not images:
        raise ReportError(f"Expected images in the {split} set but its list is empty.")
    if split == "train" and images < batch:
        raise ReportError(f"Expected at least one batch of {batch} but the training set has {images} images.")
    run.data_sets[split] = data_set
    return f"{images} images"


def _check_images(run: Run) -> str:
    """Opens a sample of images of every split as the host would."""
    if not run.data_sets:
        raise SkipError("there is no list to take images from")
    tried, bad = 0, []
    for data_set in run.data_sets.values():
        number = min(SAMPLE, len(data_set))
        tried += number
        for position in range(number):
            try:
                data_set[position * len(data_set) // number]
            except Exception as error:  # the host's code may raise anything
                bad.append(describe_error(error))
    if bad:
        raise ReportError(f"{len(bad)} of {tried} images tried cannot be read; the first: {bad[0]}")
    return f"{tried} opened, evenly spaced over {', '.join(run.data_sets)}"


def _check_classes(run: Run) -> str:
    """Checks the labels of all splits against the class count."""
    counts = class_counts_of(run.data_sets["train"].targets, run.classes)
    trained = counts > 0
    notes = ""
    for split, data_set in run.data_sets.items():
        try:
            present = class_counts_of(data_set.targets, run.classes) > 0
        except ValueError as error:
            raise ReportError(f"In the {split} set: {error}") from error
        if untrained := (present & ~trained).nonzero().flatten().tolist():
            notes += f"; {split} has images of {len(untrained)} classes that are not trained ({listed(untrained)})"
    of = "" if bool(trained.all()) else f"{int(trained.sum())} of "
    images = f"training images, from {int(counts[trained].min())} to {int(counts.max())}"
    return f"{of}{run.classes} classes have {images}{notes}"


def _check_sentences(run: Run) -> str:
    counts = getattr(run.data_sets["train"], "end_idxs", None)
    if counts is None:
        raise SkipError("the training set counts no sentences (`end_idxs`)")
    if len(counts) != run.classes:
        raise ReportError(
            f"Expected sentences for {run.classes} classes but found them for {len(counts)}: the texts (or their "
            "cache in cached/) belong to another data set."
        )
    if without := [label for label, count in enumerate(counts) if count < 1]:
        raise ReportError(
            f"Expected sentences for every class but {len(without)} have none ({listed(without)}): their logits would "
            "not be finite."
        )
    each = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(min(counts))
    return f"{sum(counts)}, {each} for each of {len(counts)} classes"


def _check_model(run: Run) -> str:
    if run.error is not None:
        if run.failed_in_model:
            raise ReportError(describe_error(run.error))
        raise SkipError("main.py fails, though not while it builds the model")
    model = run.parts["model"]
    refuse_unfilled(run, model)
    whole = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return f"{run.args.model}: {whole / 1e6:.1f} million parameters, {trained / 1e6:.1f} of them trained"


def _check_training(run: Run) -> str:
    """Checks what main.py needs besides the model."""
    if run.error is not None:
        raise ReportError(describe_error(run.error))
    run.builds = True
    criterion = run.parts["criterion"]
    base = getattr(criterion, "base_criterion", criterion)
    mixed = "no mixup or cutmix" if run.parts["mixup"] is None else "mixup or cutmix"
    return f"{type(run.parts['sampler']).__name__}, {type(base).__name__}, {mixed}"


def _check_reweight(run: Run) -> str:
    """Checks the `reweight` key, and attaches."""
    args, parts = run.args, run.parts
    args.reweight = reweight_setting(args)
    if args.reweight is None:
        if sentence := misspelling(args):
            raise ReportError(sentence)
        run.hook = Hook() if run.builds else None
        raise SkipError("the config asks for no `reweight`: nothing is re-weighted")
    parse(args.reweight, BRANCHES if run.two_branch else ())
    if not run.builds:
        raise SkipError("its keys are valid; whether it fits sampler and criterion is not known yet")
    run.plan = plan(args, **parts)
    run.hook = apply(run.plan, args, parts["model"], parts["criterion"])
    form = ", as logit adjustment" if run.plan.settings.adjusts else ""
    return run.plan.settings.type + run.plan.source() + form


def _check_weights(run: Run) -> str:
    """Reports the smallest and largest weight (for radii from logits: at equal radii), and whether they ever apply."""
    if run.plan is None:
        raise SkipError("nothing is re-weighted")
    weighting = run.plan.primary
    if not weighting.uses_logits and not weighting.has_radii:
        return "all 1"
    if never := run.plan.never_applies():
        raise ReportError(f"Expected weights that apply before the run ends, but {never}")
    radii = weighting.log_radius64
    every = weighting.weights_for(torch.zeros_like(radii) if weighting.uses_logits else radii)
    mean = expected_alpha(every, weighting.draws)
    present = weighting.class_counts > 0
    counts, alpha = weighting.class_counts[present], every[present]
    least, most = int(alpha.argmin()), int(alpha.argmax())
    form = "as margins from the first step, with radii " if run.plan.settings.adjusts else ""
    return (
        f"{'for equal radii ' if weighting.uses_logits else ''}from {alpha[least]:.3g} (a class of "
        f"{int(counts[least])} images) to {alpha[most]:.3g} (of {int(counts[most])}), {mean:.3g} on average over the "
        f"draws, {form}from epoch {weighting.start_epoch} on (counts={weighting.counts!r}, "
        f"normalize={weighting.normalize!r})"
    )


def _check_memory(run: Run) -> str:
    """Compares the memory of the statistics on each rank with the free memory of the device."""
    weightings = run.plan.weightings.values() if run.plan else ()
    volumes = [weighting for weighting in weightings if isinstance(weighting, ClassVolume)]
    if not volumes:
        raise SkipError("nothing is measured while training")
    state, merging = 0, 0
    for volume in volumes:
        moments = volume.empty_moments(torch.device("meta"))
        state += sum(value.nbytes for value in vars(moments).values() if isinstance(value, Tensor))
        merging = moments.pivot.nbytes  # ranks merge one weighting after the other
    device = torch.device(run.args.device)
    free = free_memory(device)
    text = f"statistics of {_in_bytes(state)} on each rank ({_in_bytes(state + merging)} while ranks merge)"
    if free is None:
        return text
    if state + merging > free:
        raise ReportError(
            f"Expected room for {text} but {device} has {_in_bytes(free)} free: take features=512 or "
            "less with variant='dv' or 'bv', fewer branches, or a larger device."
        )
    return f"{text}, {_in_bytes(free)} free on {device}"


def free_memory(device: torch.device) -> int | None:
    """Free memory in bytes; None if not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _in_bytes(number: float) -> str:
    """Formats bytes in the largest unit that fits, as `12.0 MB`."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def _check_step(run: Run) -> str:
    """One forward step in training mode on images that the run's own sampler draws."""
    args, device = run.args, torch.device(run.args.device)
    model, mixup = run.parts["model"], run.parts["mixup"]
    if other := misfit(model, "images"):
        raise SkipError(f"only the host's own loop can call its model: {other}")
    criterion, note = _callable_criterion(run.parts["criterion"])
    size = min(int(args.batch_size), STEP + int(args.batch_size) % 2)  # mixup takes pairs of the run's batch
    names = ("visual", "image-text") if run.two_branch else ("the",)
    with host_code():
        loader = DataLoader(run.parts["dataset"], batch_size=size, sampler=run.parts["sampler"])
        images, targets = (tensor.to(device) for tensor in next(iter(loader)))
        if mixup is not None:
            images, targets = mixup(images, targets)
        model.train(bool(getattr(args, "train_mode", True)))  # some of the host's own modules return nothing
        amp = device.type == "cuda" and not getattr(args, "fp32_resume", False)
        with torch.autocast(device.type, enabled=amp):
            outputs = model(images)
            outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
            shapes = [list(logits.shape) for logits in outputs]
            if shapes != [[size, run.classes]] * len(names):
                expected = f"{len(names)} x [{size}, {run.classes}] logits"
                raise ReportError(f"Expected {expected} but the model gives {shapes}.")
            hint = ": look at the weights that the model starts from, and at the embeddings"
            check_logits(dict(zip(names, outputs, strict=True)), hint)
            found = f"{size} images give {len(outputs)} x {shapes[0]} finite logits"
            if criterion is None:
                return f"{found}; no loss tried: {note}"
            losses = [criterion(images, logits, targets) for logits in outputs]
            # A fork's criterion may give parts of the loss beside it.
            losses = [float(loss[0] if isinstance(loss, tuple | list) else loss) for loss in losses]
    return f"{found}, loss {finite_losses(losses)}{note}"


def _callable_criterion(criterion: Any) -> tuple[Any, str]:
    """The criterion to call (the base criterion if a fork's takes more arguments, None if neither fits) and a note."""
    other = misfit(criterion, "samples", "outputs", "targets")
    if other is None:
        return criterion, ""
    base = getattr(criterion, "base_criterion", None)
    if base is None or misfit(base, "outputs", "targets"):
        return None, f"only the host's own loop can call its criterion: {other}"
    name = type(criterion).__name__
    return lambda images, logits, targets: base(logits, targets), f" (of the base criterion; of {name}, {other})"
