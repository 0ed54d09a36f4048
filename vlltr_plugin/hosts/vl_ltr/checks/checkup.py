"""All looks, in their order."""

from collections.abc import Callable
from functools import partial

import torch

from vlltr_plugin.check.results import CheckResult, Checks, SkipError
from vlltr_plugin.check.sandbox import sandbox
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.host import CheckRequest
from vlltr_plugin.hosts.vl_ltr.checkout_modules import checkout_modules
from vlltr_plugin.hosts.vl_ltr.checks.data import look_at_classes, look_at_images, look_at_list, look_at_sentences
from vlltr_plugin.hosts.vl_ltr.checks.output import look_at_output
from vlltr_plugin.hosts.vl_ltr.checks.planned import Planned
from vlltr_plugin.hosts.vl_ltr.checks.stage_one import look_at_checkpoint, look_at_embeddings
from vlltr_plugin.hosts.vl_ltr.checks.step import look_at_step
from vlltr_plugin.hosts.vl_ltr.checks.training import look_at_main, look_at_model, look_at_reweight
from vlltr_plugin.hosts.vl_ltr.checks.weights import look_at_memory, look_at_weights
from vlltr_plugin.hosts.vl_ltr.command_line import config_path
from vlltr_plugin.hosts.vl_ltr.trained_model import host_args
from vlltr_plugin.install import InstallError, State, status
from vlltr_plugin.training.settings import asked


def run_checkup(request: CheckRequest, say: Callable[[CheckResult], None] = lambda line: None) -> Checks:
    """Looks at everything that a run needs; writes nothing.

    Raises:
        ReportError: for unusable arguments, or when the host's modules or its config cannot be read.
        OSError: when config or checkout are missing.
    """
    if request.config is None:
        raise ReportError("Expected the CONFIG of the run.")
    config, checkout = config_path(request.config, request.checkout), request.checkout.resolve()
    _refuse_missing_device(request.device)
    lines = Checks(say)
    with sandbox(checkout) as side, checkout_modules(checkout, current=side) as modules:
        args = host_args(modules, config, request.device, list(request.host_args))
        _look_at_all(Planned(checkout, modules, args), lines)
    return lines


def _look_at_all(run: Planned, lines: Checks) -> None:
    lists = [f"{split} list" for split in run.splits]
    lines.look("config", partial(look_at_config, run))
    lines.look("plug-in", partial(look_at_installation, run))
    for split, name in zip(run.splits, lists, strict=True):
        lines.look(name, partial(look_at_list, run, split))
    lines.look("images", partial(look_at_images, run))
    lines.look("classes", partial(look_at_classes, run), needs=["train list"])
    lines.look("sentences", partial(look_at_sentences, run), needs=["train list"])
    lines.look("stage one", partial(look_at_checkpoint, run))
    lines.look("embeddings", partial(look_at_embeddings, run), needs=["sentences"])
    data = [*lists, "classes", "sentences", "stage one", "embeddings"]
    lines.look("model", partial(look_at_model, run), needs=data)
    lines.look("training", partial(look_at_main, run), needs=["plug-in", "model"])
    lines.look("reweight", partial(look_at_reweight, run))
    lines.look("weights", partial(look_at_weights, run), needs=["training", "reweight"])
    lines.look("memory", partial(look_at_memory, run), needs=["training", "reweight"])
    lines.look("output", partial(look_at_output, run))
    lines.look("step", partial(look_at_step, run), needs=["images", "training"])


def look_at_config(run: Planned) -> str:
    """What will be trained."""
    args = run.args
    for name in ("eval", "debug"):
        if getattr(args, name, False):
            raise ReportError(f"Expected a run that trains but {name} is set.")
    branches = "two branches" if getattr(args, "two_branch", False) else "one branch"
    data_set = getattr(args, "data_set", None) or getattr(args, "data_path", "")
    return f"{args.model} on {data_set}, {branches}, {args.epochs} epochs of batches of {args.batch_size} a process"


def look_at_installation(run: Planned) -> str:
    """Whether main.py has the plug-in's lines."""
    try:
        found = status(run.checkout)
    except InstallError as error:
        raise ReportError(str(error)) from error
    if found.fits:
        return f"installed, version {' and '.join(found.versions)}"
    if found.state is State.ABSENT and asked(run.args) is None:
        raise SkipError("not installed; this config asks for no re-weighting")
    problems = f" ({'; '.join(found.problems)})" if found.problems else ""
    raise ReportError(
        f"Expected the plug-in in main.py but it is {found.state.value}{problems}: `vlltr-plugin install` it, else "
        "nothing is re-weighted."
    )


def _refuse_missing_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ReportError(f"Expected a device of this machine but got {device!r} ({reason}).") from error
