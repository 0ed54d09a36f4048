"""Checks of a run's files: those of the pre-training stage, and its output folder."""

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from vlltr_plugin.check import SkipError
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.plan import Plan
from vlltr_plugin.hosts.vl_ltr.evaluate import Checkpoint, put_in, read_checkpoint
from vlltr_plugin.hosts.vl_ltr.host import CHECKPOINT, HOST
from vlltr_plugin.training.hook import Hook
from vlltr_plugin.training.settings import KEY, plain_values, reweight_setting

EMBEDDINGS = "run the pre-training config with --eval --eval-pretrain"
TOWER = ("visual.", "logit_scale")
"""Parameters that the host takes from the checkpoint."""

NOT_SETTINGS = HOST.irrelevant | {KEY, "world_size"}
"""Arguments in which a resumed run may differ; the re-weighting is compared by its state."""

LEFT_BY_A_RUN = ("log.txt", "checkpoint_*.pth", "reweight/epoch_*.npz")
ELSEWHERE = "give the config a new file name, or --output-dir"


@dataclass
class Run:
    """What main.py has built, and results that later checks use."""

    checkout: Path
    args: argparse.Namespace  # the host's arguments, config included
    parts: dict[str, Any]  # what main.py gave to `attach`; empty if it failed before
    error: Exception | None = None  # why main.py failed
    failed_in_model: bool = False  # True if it failed while it built the model
    builds: bool = False  # True if main.py could build all its parts
    data_sets: dict[str, Any] = field(default_factory=dict)  # by split, as far as they could be built
    stage_one: dict[str, Tensor] = field(default_factory=dict)  # parameters from the pre-training stage
    plan: Plan | None = None  # what `attach` will do; None where nothing is re-weighted, or that is not known
    hook: Hook | None = None  # the hook that `attach` will return

    @property
    def classes(self) -> int:
        """C; available once the training set has been built."""
        return int(self.args.nb_classes)

    @property
    def two_branch(self) -> bool:
        """True if the model returns visual and image-text logits."""
        return bool(getattr(self.args, "two_branch", False))


def check_stage_one(run: Run) -> str:
    """Reads the pre-training stage's checkpoint, safely."""
    name = _stage_one_folder(run) / CHECKPOINT
    path = run.checkout / name
    if not path.is_file():
        instead = getattr(run.args, "pretrained_clip", None)
        raise ReportError(
            f"Expected the checkpoint of the pre-training stage but there is no {name}: train that stage, put its "
            "checkpoint there or give pretrain_cvlp_path"
            + (f" (some models would silently start from {instead} instead)." if instead else ".")
        )
    saved = read_checkpoint(path)
    run.stage_one = {key: value for key, value in saved.model.items() if key.startswith(TOWER)}
    if not run.stage_one:
        raise ReportError(f"{name}: expected parameters of an image tower (visual.*) but it has none.")
    after = "" if saved.epoch is None else f", after {saved.epoch + 1} epochs"
    return f"{name}: {len(run.stage_one)} tensors of the image tower{after}"


def check_embeddings(run: Run) -> str:
    """Compares the embeddings with the sentences and the image tower; checks the losses that select sentences."""
    name, sentences = _stage_one_folder(run) / "txt_embed.npy", sum(run.data_sets["train"].end_idxs)
    instead = "the model would be trained with whatever is in memory in their place"
    embeddings = _array(run, name, f"{instead}; {EMBEDDINGS}")
    width = None  # of the image features, where the checkpoint tells
    if "visual.attnpool.c_proj.weight" in run.stage_one:
        width = len(run.stage_one["visual.attnpool.c_proj.weight"])
    elif "visual.proj" in run.stage_one:
        width = run.stage_one["visual.proj"].shape[1]
    if embeddings.ndim != 2 or len(embeddings) != sentences or width not in (None, embeddings.shape[1]):
        raise ReportError(
            f"{name}: expected embeddings of {sentences} sentences [{sentences}, {width or 'dim'}] but got "
            f"{list(embeddings.shape)}: they belong to other texts or another model; {EMBEDDINGS}."
        )
    parts = (
        embeddings[start : start + 4096] for start in range(0, len(embeddings), 4096)
    )  # drop them: they may take gigabytes
    if not all(np.isfinite(part).all() and part.any(axis=1).all() for part in parts):
        raise ReportError(
            f"{name}: expected embeddings that are finite and not 0 but some are 0 or not finite; {EMBEDDINGS}."
        )

    model = str(run.args.model)
    if not model.startswith("LGR_"):  # this data set is not known to select sentences by their losses
        return f"{name}: {list(embeddings.shape)}"
    split = "val" if model == "LGR_r50" or getattr(run.args, "test", False) else "train"
    losses_name = name.with_name(f"{split}_txt_ce.npy")
    losses = _array(run, losses_name, f"{EMBEDDINGS} --select (for {split})")
    if losses.shape != (sentences,):
        raise ReportError(
            f"{losses_name}: expected a loss for each of {sentences} sentences but got {list(losses.shape)}; "
            f"{EMBEDDINGS} --select."
        )
    return f"{name}: {list(embeddings.shape)}, chosen by {losses_name.name}"


def refuse_unfilled(run: Run, model: nn.Module) -> None:
    """Raises ReportError if the checkpoint lacks parameters of the image tower; the host itself ignores that."""
    wanted = [key for key in model.state_dict() if key.startswith(TOWER) and not key.endswith("num_batches_tracked")]
    missing = [key for key in wanted if key not in run.stage_one]
    if run.stage_one and missing:
        raise ReportError(
            f"Expected the pre-training stage's checkpoint to hold the model's image tower but {len(missing)} of "
            f"{len(wanted)} parameters are not in it ({missing[0]}, ...) and would silently stay random: give the "
            "checkpoint of the same tower."
        )


def _stage_one_folder(run: Run) -> Path:
    folder = getattr(run.args, "pretrain_cvlp_path", "")
    if not folder and not str(run.args.model).startswith("LGR_"):
        raise SkipError("this run takes nothing from a pre-training stage (no pretrain_cvlp_path)")
    return Path(folder)


def _array(run: Run, name: Path, advice: str) -> NDArray[np.floating]:
    path = run.checkout / name
    if not path.is_file():
        raise ReportError(f"There is no {name}: {advice}.")
    try:
        array: NDArray[np.floating] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ReportError(f"{name}: expected an array but could not read it ({error}); {advice}.") from error
    return array


def check_output(run: Run) -> str:
    """Checks the run's output folder; loads a checkpoint to resume from, safely."""
    name, resume = str(run.args.output_dir), str(getattr(run.args, "resume", ""))
    folder = run.checkout / name
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ReportError(f"Expected an output folder that can be written but {nearest} cannot.")
    if resume.startswith("https"):
        raise SkipError(f"{resume} is not fetched")
    path = run.checkout / resume
    if resume and path.is_file():
        return _check_resume(run, read_checkpoint(path), resume)

    if resume and path.resolve() != (folder / CHECKPOINT).resolve():
        raise ReportError(f"Expected the checkpoint to resume from but there is no {resume}: the run would start anew.")
    if left := [found for pattern in LEFT_BY_A_RUN for found in sorted(folder.glob(pattern))]:
        raise ReportError(
            f"Expected a new folder, or a checkpoint.pth to resume from, but {name} holds "
            f"{left[0].relative_to(folder)} without one: the run would start anew and mix with it; {ELSEWHERE}."
        )
    return f"{name}: new"


def _check_resume(run: Run, checkpoint: Checkpoint, resume: str) -> str:
    """Compares a checkpoint with the run that would resume from it, and loads it."""
    here, saved = plain_values(vars(run.args)), plain_values(checkpoint.args)
    if differing := sorted(key for key in here.keys() & saved.keys() - NOT_SETTINGS if here[key] != saved[key]):
        parts = "; ".join(f"{key}: saved {saved[key]!r}, here {here[key]!r}" for key in differing)
        raise ReportError(
            f"{resume} was saved with other settings ({parts}), and the run would resume from it. Use the saved "
            f"settings (--host-args for what the launch command says), or {ELSEWHERE}."
        )
    epochs = "an unknown number" if checkpoint.epoch is None else str(checkpoint.epoch + 1)
    if checkpoint.epoch is not None:
        if checkpoint.epoch + 1 >= int(run.args.epochs):
            raise ReportError(f"{resume} has all {run.args.epochs} epochs: the run would train nothing; {ELSEWHERE}.")
        wanted, found = ("out" * (state is None) for state in (reweight_setting(run.args), checkpoint.reweight))
        if wanted != found:
            raise ReportError(
                f"{resume} is of a run with{found} re-weighting, and this one, with{wanted}, would resume from it: "
                f"{ELSEWHERE}."
            )
    if run.hook is None:
        raise SkipError(f"{resume}: the same settings; parameters and weights could not be compared yet")
    put_in(run.parts["model"], checkpoint)
    if checkpoint.reweight is not None:
        run.hook.load({KEY: checkpoint.reweight})
    return f"{resume}: resumes after {epochs} of {run.args.epochs} epochs, with the same settings"
