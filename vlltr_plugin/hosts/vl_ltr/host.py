"""VL-LTR's words and files, for reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlltr_plugin.hosts.host import Host, RunFiles
from vlltr_plugin.hosts.vl_ltr.logs import read_log
from vlltr_plugin.hosts.vl_ltr.stdout_log import find_stdout_log
from vlltr_plugin.runs.checkpoint_args import read_checkpoint_args

LOG = "log.txt"
CHECKPOINT = "checkpoint.pth"


def read_run(log_path: Path) -> RunFiles:
    """Reads a log with the checkpoint and the printed output beside it."""
    log = read_log(log_path)
    stdout = find_stdout_log(log_path.parent)
    args, source, warnings = args_of_checkpoint(log_path.with_name(CHECKPOINT))
    if args is None and stdout is not None and stdout.args:
        args, source = stdout.args, stdout.path
    return RunFiles(log, args or {}, source if args else None, stdout, (*log.warnings, *warnings))


def args_of_checkpoint(path: Path | None) -> tuple[dict[str, Any] | None, Path | None, list[str]]:
    """The arguments in a checkpoint, if there is one; its path; a warning where it is damaged."""
    try:
        return read_checkpoint_args(path) if path is not None and path.is_file() else None, path, []
    except ValueError as error:
        return None, path, [str(error)]


def _find_log(folder: Path) -> Path | None:
    return folder / LOG if (folder / LOG).is_file() else None


VL_LTR = Host(
    name="vl-ltr",
    title="VL-LTR",
    wrote=lambda head: head.lstrip().startswith((b"{", b"#")),
    find_log=_find_log,
    read_run=read_run,
    many_from=100,
    few_to=20,
    epochs_on="validation split",
    notes=(
        "Overall and shot groups use different predictions (upstream's way): overall is scored by a mixture of the two "
        "branches' softmaxes, the groups by the sum of their logits.",
        "Epochs count from 0, as in log.txt. The best epoch is the first of the best overall top-1 on the validation "
        "split; the test is of the last epoch.",
    ),
    times="Times: the host's own `Training time` (evaluations included; only where one start ran through all epochs) "
    "and its `Total time` of each training pass, both as printed; re-weighting (train_reweight_seconds in log.txt) "
    "with its share of the training pass.",
    no_times="The logs tell no training times: keep what a run prints as train.log beside its log.txt, as upstream's "
    "launcher script does.",
    irrelevant=frozenset(
        (
            *("config", "output_dir", "resume", "start_epoch", "data_path", "seed", "device", "num_workers", "pin_mem"),
            *("eval", "test", "test_p", "select", "debug", "dist_eval", "distributed"),
            *("gpu", "rank", "local_rank", "port", "dist_url", "dist_backend"),
        )
    ),
)
