"""A sweep over methods and seeds: the missing runs, the shared warm-up, and resuming after an interruption."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from vlltr_plugin.cifar_lt.batches import Batches
from vlltr_plugin.cifar_lt.methods import METHODS, never_weighted
from vlltr_plugin.cifar_lt.results import DATA, append, identity, read, results_of
from vlltr_plugin.cifar_lt.training import Schedule, Training
from vlltr_plugin.runs.files import write_whole

Say = Callable[[str], None]

SAVE_EVERY = 10.0  # seconds between two saves of a run's state; at least one epoch


class Sweep:
    """Runs of one data set under one recipe; each finished one is a line of the results file.

    The state of a run in progress and the shared warm-ups lie beside the results file, in `<name>.states/`; a state
    is written after an epoch, every `SAVE_EVERY` seconds, and removed when its run is in the results. Warm-ups stay,
    for methods to come. `labels` are `dataset` and `imbalance` as the results file calls them; with `share_warmup`,
    what deferred methods have in common is trained once for each group of seeds; `together` seeds train in one program.
    """

    def __init__(
        self,
        batches: Batches,
        labels: dict[str, Any],
        schedule: Schedule,
        results: Path,
        share_warmup: bool = False,
        together: int = 1,
        say: Say = print,
    ) -> None:
        self.batches, self.schedule, self.results = batches, schedule, results
        self.labels = {**labels, DATA: batches.digest, **schedule.labels()}
        self.share_warmup, self.together, self.say = share_warmup, together, say
        self.states = results.with_name(f"{results.stem}.states")

    def run(self, methods: Sequence[str], seeds: Sequence[int]) -> None:
        """Trains every method with every seed that the results file does not hold yet."""
        methods, seeds = list(dict.fromkeys(methods)), list(dict.fromkeys(seeds))
        for name in methods:
            if warning := never_weighted(name, self.schedule.start_epoch, self.schedule.epochs):
                self.say(f"warning: {warning}")
        for start in range(0, len(seeds), self.together):
            group = list(seeds[start : start + self.together])
            for name in methods:
                self._run(name, group)
        if self.states.is_dir() and not any(self.states.iterdir()):
            self.states.rmdir()

    def _run(self, name: str, group: list[int]) -> None:
        """Trains the missing seeds of a group, together with all seeds of an interrupted run of this group."""
        done = {identity(line) for line in (read(self.results) if self.results.exists() else [])}
        missing = [seed for seed in group if identity({**self.labels, "method": name, "seed": seed}) not in done]
        for seed in (seed for seed in group if seed not in missing):
            self.say(f"{name}, seed {seed}: in the results already")
        begun = self._state(name, group)
        if not missing:
            begun.unlink(missing_ok=True)
            return
        seeds = group if begun.exists() else missing
        method, state = METHODS[name], self._state(name, seeds)
        training = Training(self.batches, method, self.schedule, seeds)
        if state.exists():
            training.load(_load(state))
            self.say(f"{name}, {_named(seeds)}: resumes from epoch {training.epoch}")
        elif self.share_warmup and method.warm_up and self.schedule.warm_up:
            # The epochs before the weights apply, trained once.
            path = self._state(f"warmup-{method.warm_up}", seeds)
            shared = Training(self.batches, METHODS[method.warm_up], self.schedule, seeds)
            if path.exists():
                shared.load(_load(path))
            self._train(shared, f"warm-up of {method.warm_up}", path, self.schedule.warm_up)
            training.load(shared.state(), weightings=False)
        self._train(training, name, state, self.schedule.epochs)
        found = [{**self.labels, "method": name, **line} for line in results_of(training)]
        append(self.results, *(line for line in found if line["seed"] in missing))
        state.unlink()

    def _train(self, training: Training, name: str, state: Path, until: int) -> None:
        saved = -math.inf
        while training.epoch < until:
            training.train()
            if training.epoch == until or time.monotonic() >= saved + SAVE_EVERY:
                _save(state, training.state())
                saved = time.monotonic()
            errors = ", ".join(f"{curve[-1][1]:.2f}" for curve in training.curve if curve)
            self.say(
                f"{name}, {_named(training.seeds)}: epoch {training.epoch}/{self.schedule.epochs}, "
                f"{training.seconds / training.epoch:.1f} s/epoch" + (f", test error {errors} %" if errors else "")
            )

    def _state(self, name: str, seeds: list[int]) -> Path:
        parts = [str(value)[:40] for value in self.labels.values()] + [name, *map(str, seeds)]
        return self.states / ("-".join(parts) + ".pth")


def _named(seeds: list[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _save(path: Path, state: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(path, buffer.getvalue())


def _load(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
