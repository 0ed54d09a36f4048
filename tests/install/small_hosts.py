"""Miniature training scripts with the shapes that the inserted lines look for: VL-LTR's and LIFT's."""

import types
from unittest import mock

import pytest

from vlltr_plugin.install import AnchorError, install, load_recipes, status

HOST = '''\
"""Trains nothing, in the order in which the real script trains something."""
from __future__ import annotations

import json
from types import SimpleNamespace as Box

kept = []
tools = Box(save_on_master=lambda state, path: kept.append((path, state)))


def teach_epoch(net, loss, at, mix):
    return {"loss": 1 / (at + 1)}


def main(args):
    dataset_train, args.width = ["a", "b"], 2
    if args.weighted:
        sampler_train = "weighted"
    else:
        sampler_train = "plain"
    mixup_fn = None
    if args.mix:
        mixup_fn = "mixer"
    model = "net"
    if args.parallel:
        model = "parallel net"
    criterion = "hard"
    print("the bare loss:", criterion)
    if args.pretrain:
        criterion = ("pretraining", criterion)
    else:
        criterion = (
            "distillation", criterion
        )
    print("the whole loss:", criterion)

    if args.resume:
        checkpoint = args.found
        if checkpoint is not None:  # something to go on from
            if "at" in checkpoint:
                args.first = checkpoint["at"] + 1

    if args.judge:
        return []
    log = []
    for epoch in range(args.first, args.last):
        marks = epoch // 2

        if not args.debug:
            train_stats = teach_epoch(
                model, criterion, epoch,
                mixup_fn,
            )

        for path in [f"{marks}.pth"]:
            tools.save_on_master({
                "net": model,
                "at": epoch,
                "args": args,
            }, path)
        log.append(json.dumps({**train_stats, "at": epoch}))
    return log


if __name__ == "__main__":
    main(Box(first=0, last=1))
'''
LIFT_TRAINER = '''\
"""Trains nothing, in the order in which LIFT's trainer does."""
import os
from types import SimpleNamespace as Box

os.environ["HOST_SETTING"] = "1"

import torch  # noqa: E402


class Trainer:
    def __init__(self, cfg):
        self.cfg = cfg
        self.model, self.criterion, self.events = "net", lambda output, label: 0.5, []
        self.sched = Box(step=lambda: self.events.append("step"))

    def train(self):
        cfg = self.cfg
        num_epochs = cfg.num_epochs
        for epoch_idx in range(num_epochs):
            for batch_idx, batch in enumerate(["a", "b"]):
                self.events.append(self.criterion(batch, batch_idx))

            self.sched.step()
            self.events.append("rest")
        return self.events
'''
LIFT_CONFIG = '''\
from yacs.config import CfgNode as CN

_C = CN()

_C.num_epochs = 2
_C.inner = CN()
_C.loss_type = "LA"'''  # no newline at the end of the file, as in several real ones


def with_plugin(text):
    """The globals of a script with the lines in, and the mock that stands for the plug-in's `attach`."""
    plugin, space = mock.Mock(), {"__name__": "host"}
    plugin.hosts.lift.attach = plugin.attach
    hook = plugin.attach.return_value
    hook.end_epoch.return_value, hook.checkpoint.return_value = {"reweight_seconds": 0.5}, {"reweight": 1}
    names = ("vlltr_plugin", "vlltr_plugin.compat", "vlltr_plugin.hosts", "vlltr_plugin.hosts.lift")
    with mock.patch.dict("sys.modules", dict.fromkeys(names, plugin)):
        exec(compile(text, "host.py", "exec", dont_inherit=True), space)
    return space, plugin.attach


def run_host(text, **options):
    """Runs VL-LTR's miniature with the lines in; returns its calls of the plug-in, its log, and the saved states."""
    space, attach = with_plugin(text)
    usual = {"weighted": True, "mix": True, "parallel": True, "pretrain": False, "resume": True, "found": None}
    rest = {"judge": False, "debug": False, "first": 0, "last": 2}
    log = space["main"](types.SimpleNamespace(**{**usual, **rest, **options}))
    return attach.mock_calls, log, [state for _, state in space["kept"]]


def write_files(root, files):
    """Writes files below a folder, which it returns."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def rewrite(path, *pairs):
    """Replaces pieces of a script, each of which must be there, by others; the script stays valid Python."""
    text = path.read_text()
    for old, new in pairs:
        assert old in text, f"the mutation no longer applies: {old!r}"
        text = text.replace(old, new)
    compile(text, path.name, "exec")
    path.write_bytes(text.encode())
    return path


def contents(root):
    """All files and folders below a folder, with the files' bytes."""
    paths = sorted(root.rglob("*"))
    return {path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}


def assert_refused(root, host, reason):
    """Installing names file and reason in one line, then the lines to insert by hand, and writes nothing."""
    before = contents(root)
    with pytest.raises(AnchorError) as caught:
        install(root)
    first, *rest = str(caught.value).splitlines()
    assert reason in first
    assert first.startswith(load_recipes()[host].files)
    assert first.endswith("; nothing was written")
    for patch in load_recipes()[host].patches:
        assert all(any(item.line in line for line in rest) for item in patch.insertions)
    assert contents(root) == before
    assert f"install would be refused: {first.removesuffix('; nothing was written')}" in str(status(root))
