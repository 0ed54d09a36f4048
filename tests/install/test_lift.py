"""LIFT's shape: a method that trains, two files, the host found out by itself."""

import types
from unittest import mock

import pytest
from install.small_hosts import assert_refused, contents, rewrite, with_plugin

from vlltr_plugin.install import State, install, status, uninstall

STEP = "            self.sched.step()\n"
LOOP = "        for epoch_idx in range(num_epochs):\n"
BATCHES = '            for batch_idx, batch in enumerate(["a", "b"]):\n'
CALL = "                self.events.append(self.criterion(batch, batch_idx))\n"
TRAIN = "    def train(self):\n"
NO_END = "and a loop by steps has no end"

FITTING: dict[str, list[tuple[str, str]]] = {
    "unchanged": [],
    "a comment between": [(STEP, f"{STEP}            # lower the rate\n")],
    "the model wrapped before the loop": [(LOOP, f"        self.model = ('parallel', self.model)\n{LOOP}")],
    "another loop over epochs": [
        (TRAIN, f"    def test(self):\n        for epoch_idx in ():\n            1\n\n{TRAIN}")
    ],
    "another class that trains": [("class Trainer", f"class Other:\n{TRAIN}        pass\n\n\nclass Trainer")],
    "a scheduler stepped by batch as well": [(CALL, f"{CALL}                self.sched.step\n")],
    "a decorated method": [(TRAIN, f"    @(lambda f: f)\n{TRAIN}")],
    "tabs": [("    ", "\t")],
    "windows": [("\n", "\r\n")],
}
REFUSED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "no Trainer": ("method `Trainer.train`", [("class Trainer", "class Runner")]),
    "no train": ("method `Trainer.train`", [("def train(", "def fit(")]),
    "two trains": ("found 2", [("        return self.events", f"        return self.events\n\n{TRAIN}        pass")]),
    "a function that is no method": ("method `Trainer.train`", [("    def train(", "    pass\n\n\ndef train(")]),
    "a loop by steps": (f"it has a loop in line 19, {NO_END}", [("for epoch_idx in", "for step in")]),
    "a while loop": (f"a `while` loop in line 19, {NO_END}", [(LOOP, "        while (epoch_idx := 1) < 2:\n")]),
    "two epoch loops": ("found 2 (lines 19, 22): the lines fit one", [(LOOP, f"{LOOP}            pass\n\n{LOOP}")]),
    "another variable": ("epoch loop in line 19 has another variable, `epoch`", [("epoch_idx", "epoch")]),
    "one epoch": (
        "loop in line 19 goes over the batches",
        [(LOOP, "        for i in enumerate(self.train_loader):\n")],
    ),
    "an epoch loop in a block": ("line 20 stands inside the statement of line 19", [(LOOP, f"        if 1:\n {LOOP}")]),
    "batches under a condition": ("is one epoch, its loop in line 20", [(LOOP, "        if num_epochs:\n")]),
    "a scheduler stepped by batch": ("it is called in line 22 only", [(STEP, ""), (CALL, f"{CALL}    {STEP}")]),
    "a scheduler stepped on a condition": ("in line 24 only", [(STEP, f"            if epoch_idx:\n    {STEP}")]),
    "two schedulers' steps": ("found 2 places", [(STEP, STEP + STEP)]),
    "the step shares its line": ("own line", [(STEP, f"            pass; {STEP.strip()}\n")]),
    "another criterion": ("does not call `self.criterion`", [("self.criterion(batch", "self.loss(batch")]),
    "the criterion's attribute set": (
        "`self.criterion.w` again",
        [(BATCHES, f"            self.criterion.w = 1\n{BATCHES}")],
    ),
    "the criterion replaced": (
        "sets `self.criterion` again",
        [(BATCHES, f"            self.criterion = 1\n{BATCHES}")],
    ),
    "the model replaced": ("sets `self.model` again", [(BATCHES, f"            del self.model\n{BATCHES}")]),
    "the epoch changed": ("`epoch_idx`, which line", [(BATCHES, f"            epoch_idx += 1\n{BATCHES}")]),
    "the hook's name in use": ("unused", [(LOOP, f"        reweight_hook = 1\n{LOOP}")]),
}


@pytest.mark.parametrize("name", FITTING)
def test_five_lines_go_in_run_right_and_come_out_byte_for_byte(name, make_lift):
    root = make_lift()
    rewrite(root / "trainer.py", *FITTING[name])
    before = contents(root)
    report = install(root)
    added = [line for line in report.host_diff.splitlines() if line.startswith("+") and "# vlltr-plugin" in line]
    removed = [line for line in report.host_diff.splitlines() if line.startswith("-") and not line.startswith("---")]
    assert (len(added), removed) == (5, [])
    assert status(root).fits
    assert install(root).changes == ()
    assert not (root / "configs").exists()
    space, attach = with_plugin((root / "trainer.py").read_bytes())
    trainer, hook = space["Trainer"](types.SimpleNamespace(num_epochs=2)), attach.return_value
    hook.end_epoch.side_effect = lambda epoch: trainer.events.append(("end", epoch))
    attach.side_effect = lambda _: trainer.events.append("attach") or hook
    epochs = [[0.5, 0.5, "step", ("end", epoch), "rest"] for epoch in (0, 1)]
    assert trainer.train() == ["attach", *epochs[0], *epochs[1]]
    assert attach.mock_calls[0] == mock.call(trainer)
    uninstall(root)
    assert contents(root) == before


@pytest.mark.parametrize("name", REFUSED)
def test_a_trainer_without_a_safe_place_is_refused_with_the_reason_and_its_line(name, make_lift):
    reason, pairs = REFUSED[name]
    root = make_lift()
    rewrite(root / "trainer.py", *pairs)
    assert_refused(root, "lift", reason)


def test_reasons_of_every_file_are_given_and_none_is_written(make_lift):
    both, one = make_lift(config="config = 1\n"), make_lift(config="_C = 1\n_C = 2\n", name="one")
    rewrite(both / "trainer.py", (STEP, ""))
    assert_refused(both, "lift", "`train` never calls it")
    assert_refused(both, "lift", "; utils/config.py: anchor `config`: found no place for it")
    assert_refused(one, "lift", "utils/config.py: anchor `config`: found 2 places")


def test_lines_in_one_file_only_are_a_part_and_named(make_lift):
    root = make_lift()
    config = (root / "utils" / "config.py").read_bytes()
    install(root)
    (root / "utils" / "config.py").write_bytes(config)
    found = status(root)
    assert found.state is State.PARTIAL
    assert "utils/config.py: missing line `_C.reweight = " in str(found)
    install(root)
    assert status(root).fits
