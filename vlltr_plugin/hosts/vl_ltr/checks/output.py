"""The run's folder: new, or a resume of the same settings."""

import io
import os
from contextlib import redirect_stdout
from pathlib import Path

from vlltr_plugin.check.results import SkipError
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.checks.planned import Planned
from vlltr_plugin.hosts.vl_ltr.host import HOST
from vlltr_plugin.hosts.vl_ltr.trained_model import Checkpoint, put_in, read_checkpoint
from vlltr_plugin.training.settings import KEY, asked, plain

NOT_SETTINGS = HOST.irrelevant | {KEY, "world_size"}
"""Arguments in which a resumed run may differ; the re-weighting is compared by its state, ranks are not known here."""

LEFT_BY_A_RUN = ("log.txt", "checkpoint_*.pth", "reweight/epoch_*.npz")
ELSEWHERE = "give the config a new file name, or --output-dir"


def look_at_output(run: Planned) -> str:
    """What the run would find in its folder; takes a checkpoint there as a resume would, but safely."""
    name, resume = str(run.args.output_dir), str(getattr(run.args, "resume", ""))
    folder = run.file(name)
    _refuse_unwritable(folder)
    if resume.startswith("https"):
        raise SkipError(f"{resume} is not fetched")
    if not resume or not run.file(resume).is_file():
        _refuse_leftovers(run, folder, resume)
        return f"{name}: new"
    checkpoint = read_checkpoint(run.file(resume))
    _refuse_other_settings(run, checkpoint, resume)
    _refuse_finished(run, checkpoint, resume)
    _refuse_other_method(run, checkpoint, resume)
    if run.model is None or run.hook is None:
        raise SkipError(f"{resume}: the same settings; parameters and weights could not be compared yet")
    put_in(run.model, checkpoint)
    if checkpoint.reweight is not None:
        with redirect_stdout(io.StringIO()):
            run.hook.load({KEY: checkpoint.reweight})
    return f"{resume}: resumes after {_epochs(checkpoint)} of {run.args.epochs} epochs, with the same settings"


def _refuse_unwritable(folder: Path) -> None:
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ReportError(f"Expected an output folder that can be written but {nearest} cannot.")


def _refuse_leftovers(run: Planned, folder: Path, resume: str) -> None:
    if resume and run.file(resume).resolve() != (folder / "checkpoint.pth").resolve():
        raise ReportError(f"Expected the checkpoint to resume from but there is no {resume}: the run would start anew.")
    left = [found for pattern in LEFT_BY_A_RUN for found in sorted(folder.glob(pattern))]
    if left:
        raise ReportError(
            f"Expected a new folder, or a checkpoint.pth to resume from, but {run.args.output_dir} holds "
            f"{left[0].relative_to(folder)} without one: the run would start anew and mix with it; {ELSEWHERE}."
        )


def _refuse_other_settings(run: Planned, checkpoint: Checkpoint, resume: str) -> None:
    here = {key: plain(value) for key, value in vars(run.args).items()}
    saved = {key: plain(value) for key, value in checkpoint.args.items()}
    differing = sorted(key for key in here.keys() & saved.keys() - NOT_SETTINGS if here[key] != saved[key])
    if differing:
        parts = "; ".join(f"{key}: saved {saved[key]!r}, here {here[key]!r}" for key in differing)
        raise ReportError(
            f"{resume} is of other settings ({parts}), and the run would go on from it: use those (--host-args for "
            f"what the launch command says), or {ELSEWHERE}."
        )


def _refuse_finished(run: Planned, checkpoint: Checkpoint, resume: str) -> None:
    if checkpoint.epoch is not None and checkpoint.epoch + 1 >= int(run.args.epochs):
        raise ReportError(f"{resume} has all {run.args.epochs} epochs: the run would train nothing; {ELSEWHERE}.")


def _refuse_other_method(run: Planned, checkpoint: Checkpoint, resume: str) -> None:
    wanted, found = asked(run.args) is not None, checkpoint.reweight is not None
    if checkpoint.epoch is None or wanted == found:
        return
    raise ReportError(
        f"{resume} is of a run with{'' if found else 'out'} re-weighting, and this one, with{'' if wanted else 'out'}, "
        f"would go on from it: {ELSEWHERE}."
    )


def _epochs(checkpoint: Checkpoint) -> str:
    return "an unknown number" if checkpoint.epoch is None else str(checkpoint.epoch + 1)
