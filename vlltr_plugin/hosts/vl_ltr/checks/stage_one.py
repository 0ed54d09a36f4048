"""What the recognition stage takes from the pre-training stage: a checkpoint, embeddings of the sentences, losses."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vlltr_plugin.check.results import SkipError
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.checks.planned import Planned
from vlltr_plugin.hosts.vl_ltr.trained_model import read_checkpoint

EMBEDDINGS = "run the pre-training config with --eval --eval-pretrain"
LOSSES = f"{EMBEDDINGS} --select"
TOWER = ("visual.", "logit_scale")
"""Parameters that the host takes from the checkpoint."""


def look_at_checkpoint(run: Planned) -> str:
    """Reads the pre-training stage's checkpoint without running anything in it."""
    name = _folder(run) / "checkpoint.pth"
    path = run.file(str(name))
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
    return f"{name}: {len(run.stage_one)} tensors of the image tower" + (
        f", after {saved.epoch + 1} epochs" if saved.epoch is not None else ""
    )


def look_at_embeddings(run: Planned) -> str:
    """The embeddings against sentences and image tower, and the losses by which sentences are chosen."""
    folder = _folder(run)
    sentences = sum(run.data_sets["train"].end_idxs)
    name = folder / "txt_embed.npy"
    embeddings = _array(
        run, name, f"the model would be trained with whatever is in memory in their place; {EMBEDDINGS}"
    )
    width = _tower_width(run)
    if embeddings.ndim != 2 or len(embeddings) != sentences or width not in (None, embeddings.shape[1]):
        raise ReportError(
            f"{name}: expected embeddings of {sentences} sentences [{sentences}, {width or 'dim'}] but got "
            f"{list(embeddings.shape)}: they belong to other texts or another model; {EMBEDDINGS}."
        )
    parts = (embeddings[start : start + 4096] for start in range(0, len(embeddings), 4096))  # they may be gigabytes
    if not all(np.isfinite(part).all() and part.any(axis=1).all() for part in parts):
        raise ReportError(f"{name}: expected embeddings that are finite and not 0 but some are not; {EMBEDDINGS}.")
    split = _losses_split(run)
    if split is None:
        return f"{name}: {list(embeddings.shape)}"
    losses_name = folder / f"{split}_txt_ce.npy"
    losses = _array(run, losses_name, f"{LOSSES} (for {split})")
    if losses.shape != (sentences,):
        raise ReportError(
            f"{losses_name}: expected a loss for each of {sentences} sentences but got {list(losses.shape)}; {LOSSES}."
        )
    return f"{name}: {list(embeddings.shape)}, chosen by {losses_name.name}"


def refuse_unfilled(run: Planned, model: nn.Module) -> None:
    """Raises ReportError when parameters of the image tower are not in the checkpoint: the host would not say so."""
    if not run.stage_one:
        return
    wanted = [key for key in model.state_dict() if key.startswith(TOWER) and not key.endswith("num_batches_tracked")]
    missing = [key for key in wanted if key not in run.stage_one]
    if missing:
        raise ReportError(
            f"Expected the pre-training stage's checkpoint to hold the model's image tower but {len(missing)} of "
            f"{len(wanted)} parameters are not in it ({missing[0]}, ...) and would silently stay random: give the "
            "checkpoint of the same tower."
        )


def _folder(run: Planned) -> Path:
    folder = getattr(run.args, "pretrain_cvlp_path", "")
    if not folder and not str(run.args.model).startswith("LGR_"):
        raise SkipError("this run takes nothing from a pre-training stage (no pretrain_cvlp_path)")
    return Path(folder)


def _array(run: Planned, name: Path, advice: str) -> NDArray[np.floating]:
    path = run.file(str(name))
    if not path.is_file():
        raise ReportError(f"There is no {name}: {advice}.")
    try:
        array: NDArray[np.floating] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ReportError(f"{name}: expected an array but could not read it ({error}); {advice}.") from error
    return array


def _losses_split(run: Planned) -> str | None:
    """Which losses the host's models choose sentences by; None for a model of another name."""
    model = str(run.args.model)
    if not model.startswith("LGR_"):
        return None
    return "val" if model == "LGR_r50" or getattr(run.args, "test", False) else "train"


def _tower_width(run: Planned) -> int | None:
    """Width of the image features, where the checkpoint tells."""
    if "visual.attnpool.c_proj.weight" in run.stage_one:
        return len(run.stage_one["visual.attnpool.c_proj.weight"])
    if "visual.proj" in run.stage_one:
        return run.stage_one["visual.proj"].shape[1]
    return None
