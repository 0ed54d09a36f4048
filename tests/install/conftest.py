"""A miniature training script with the shapes that the inserted lines look for, and checkouts made from it."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.runs import Nursery

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


@pytest.fixture(scope="session")
def host() -> str:
    return HOST


@pytest.fixture
def make_checkout(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkout with the given main.py and one config of its own."""

    def make(main: str | bytes = HOST, name: str = "checkout") -> Path:
        root = tmp_path / name
        (root / "configs" / "own").mkdir(parents=True)
        (root / "configs" / "own" / "run.py").write_text("data = dict()\n")
        (root / "main.py").write_bytes(main if isinstance(main, bytes) else main.encode())
        return root

    return make


@pytest.fixture(autouse=True)
def supplied_configs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small configs in place of the supplied ones, so that the tests do not depend on those."""
    folder = tmp_path_factory.mktemp("supplied")
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text(f"_base_ = ['../own/run.py']\nreweight = dict(type='{name}')\n")
    monkeypatch.setattr("vlltr_plugin.install.config_copies.configs_dir", lambda: folder)
    return folder


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes | None]]:
    """All files and folders below a folder, with the files' bytes."""

    def look(root: Path) -> dict[str, bytes | None]:
        paths = sorted(root.rglob("*"))
        return {path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}

    return look


class RecordingHook:
    """Stands for the plug-in's hook and only records what it is asked."""

    def __init__(self, events: list[Any]) -> None:
        self.events = events

    def load(self, checkpoint: object) -> None:
        self.events.append(("load", checkpoint))

    def begin_epoch(self, epoch: int) -> None:
        self.events.append(("begin", epoch))

    def end_epoch(self, epoch: int) -> dict[str, float]:
        self.events.append(("end", epoch))
        return {"reweight_seconds": 0.5}

    def checkpoint(self) -> dict[str, object]:
        return {"reweight": len(self.events)}


@pytest.fixture
def run_host(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Any], dict[str, Any]]]:
    """Runs a patched host; returns what it asked of the plug-in, and its globals with the returned log."""

    def run(text: bytes, **options: Any) -> tuple[list[Any], dict[str, Any]]:
        events: list[Any] = []

        def attach(args: object, **parts: object) -> RecordingHook:
            events.append(("attach", parts))
            return RecordingHook(events)

        plugin, compat = types.ModuleType("vlltr_plugin"), types.ModuleType("vlltr_plugin.compat")
        vars(plugin).update(attach=attach, compat=compat)
        space: dict[str, Any] = {"__name__": "host"}
        usual = {"weighted": True, "mix": True, "parallel": True, "pretrain": False, "resume": True, "found": None}
        rest = {"judge": False, "debug": False, "first": 0, "last": 2}
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "vlltr_plugin", plugin)
            patch.setitem(sys.modules, "vlltr_plugin.compat", compat)
            exec(compile(text, "main.py", "exec", dont_inherit=True), space)
            space["log"] = space["main"](types.SimpleNamespace(**{**usual, **rest, **options}))
        return events, space

    return run


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Forks processes that may be killed."""
    place = Nursery(tmp_path_factory.mktemp("nursery"), for_hosts=False)
    yield place
    place.close()


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


@pytest.fixture
def make_lift(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkout with LIFT's shape."""

    def make(trainer: str = LIFT_TRAINER, config: str = LIFT_CONFIG, name: str = "lift") -> Path:
        root = tmp_path / name
        (root / "utils").mkdir(parents=True)
        (root / "main.py").write_text("def main(args):\n    pass\n")
        (root / "trainer.py").write_text(trainer)
        (root / "utils" / "config.py").write_text(config)
        return root

    return make
