"""LIFT's shape: a method that trains, two files, the host found out by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlltr_plugin import __version__
from vlltr_plugin.cli import main
from vlltr_plugin.install import AnchorError, InstallError, State, install, status, uninstall

Make = Callable[..., Path]
Contents = Callable[[Path], "dict[str, bytes | None]"]

STEP = "            self.sched.step()\n"
LOOP = "        for epoch_idx in range(num_epochs):\n"
BATCHES = '            for batch_idx, batch in enumerate(["a", "b"]):\n'
CALL = "                self.events.append(self.criterion(batch, batch_idx))\n"
TRAIN = "    def train(self):\n"

FITTING: dict[str, list[tuple[str, str]]] = {
    "unchanged": [],
    "a comment between": [(STEP, f"{STEP}            # lower the rate\n")],
    "the model wrapped before the loop": [(LOOP, f"        self.model = ('parallel', self.model)\n{LOOP}")],
    "another loop over epochs elsewhere": [
        ("    def train(", "    def test(self):\n        for epoch_idx in ():\n            pass\n\n    def train(")
    ],
    "another class that trains": [
        ("class Trainer:", "class Other:\n    def train(self):\n        pass\n\n\nclass Trainer:")
    ],
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
    "a loop by steps": ("a loop by steps has no end of an epoch", [("for epoch_idx in", "for step in")]),
    "a while loop": (
        "a loop by steps has no end of an epoch",
        [(LOOP, "        epoch_idx = 0\n        while epoch_idx < 2:\n")],
    ),
    "a scheduler stepped by batch": ("`end_epoch`: found no place", [(STEP, ""), (CALL, f"{CALL}    {STEP}")]),
    "a scheduler stepped on a condition": ("`end_epoch`", [(STEP, f"            if epoch_idx:\n    {STEP}")]),
    "two schedulers' steps": ("found 2 places", [(STEP, STEP + STEP)]),
    "the step shares its line": ("own line", [(STEP, f"            pass; {STEP.strip()}\n")]),
    "another criterion": ("does not call `self.criterion`", [("self.criterion(batch", "self.loss(batch")]),
    "an attribute of the criterion set": (
        "sets `self.criterion.weight` again",
        [(BATCHES, f"            self.criterion.weight = epoch_idx\n{BATCHES}")],
    ),
    "the criterion replaced": (
        "sets `self.criterion` again",
        [(BATCHES, f"            self.criterion = print\n{BATCHES}")],
    ),
    "the model replaced": ("sets `self.model` again", [(BATCHES, f"            del self.model\n{BATCHES}")]),
    "the epoch changed": ("`epoch_idx`, which line", [(BATCHES, f"            epoch_idx += 1\n{BATCHES}")]),
    "the hook's name in use": ("unused", [(LOOP, f"        reweight_hook = 1\n{LOOP}")]),
}


def mutate(root: Path, pairs: list[tuple[str, str]]) -> Path:
    trainer = root / "trainer.py"
    text = trainer.read_text()
    for old, new in pairs:
        assert old in text, f"the mutation no longer applies: {old!r}"
        text = text.replace(old, new)
    compile(text, "trainer.py", "exec")
    trainer.write_bytes(text.encode())
    return root


def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the patched trainer does, with a plug-in that only says that it was called."""
    asked: list[Any] = []

    def attach(trainer: Any) -> Any:
        asked.append(trainer)
        return types.SimpleNamespace(end_epoch=lambda epoch: trainer.events.append(("end", epoch)))

    package = types.ModuleType("vlltr_plugin")
    package.hosts = types.SimpleNamespace(lift=types.SimpleNamespace(attach=attach))  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        for name in ("vlltr_plugin", "vlltr_plugin.hosts", "vlltr_plugin.hosts.lift"):
            patch.setitem(sys.modules, name, package)
        space: dict[str, Any] = {"__name__": "trainer"}
        exec(compile((root / "trainer.py").read_bytes(), "trainer.py", "exec", dont_inherit=True), space)
        trainer = space["Trainer"](types.SimpleNamespace(num_epochs=2))
        events = trainer.train()
    assert asked == [trainer]
    return events


@pytest.mark.parametrize("name", FITTING)
def test_five_lines_go_in_run_right_and_come_out_byte_for_byte(
    name: str, make_lift: Make, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = mutate(make_lift(), FITTING[name])
    before = contents(root)
    report = install(root)
    added = [line for line in report.host_diff.splitlines() if line.startswith("+") and "# vlltr-plugin" in line]
    removed = [line for line in report.host_diff.splitlines() if line.startswith("-") and not line.startswith("---")]
    assert (len(added), removed) == (5, [])
    assert status(root).fits
    assert install(root).changes == ()
    assert not (root / "configs").exists()
    events = run(root, monkeypatch)
    assert events == [0.5, 0.5, "step", ("end", 0), "rest", 0.5, 0.5, "step", ("end", 1), "rest"]
    uninstall(root)
    assert contents(root) == before


@pytest.mark.parametrize("name", REFUSED)
def test_a_trainer_without_a_safe_place_is_refused_and_nothing_is_written(
    name: str, make_lift: Make, contents: Contents
) -> None:
    reason, pairs = REFUSED[name]
    root = mutate(make_lift(), pairs)
    before = contents(root)
    with pytest.raises(AnchorError) as caught:
        install(root)
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("trainer.py: ")
    assert reason in first
    assert first.endswith("nothing was written")
    assert any("reweight_hook = vlltr_plugin.hosts.lift.attach(self)" in line for line in rest)
    assert contents(root) == before
    assert f"install would be refused: {first.removesuffix('; nothing was written')}" in str(status(root))


def test_what_is_missing_in_every_file_is_named_at_once(make_lift: Make, contents: Contents) -> None:
    root = mutate(make_lift(config="from yacs.config import CfgNode\n\nconfig = CfgNode()\n"), [(STEP, "")])
    before = contents(root)
    with pytest.raises(AnchorError, match=r"^trainer.py: .*`end_epoch`.*; utils/config.py: .*`config`.*nothing was"):
        install(root)
    assert contents(root) == before


def test_one_file_that_fits_is_not_written_when_another_does_not(make_lift: Make, contents: Contents) -> None:
    root = make_lift(config="_C = 1\n_C = 2\n")
    before = contents(root)
    with pytest.raises(AnchorError, match=r"^utils/config.py: .*found 2 places"):
        install(root)
    assert contents(root) == before


def test_lines_in_one_file_only_are_a_part_and_named(make_lift: Make) -> None:
    root = make_lift()
    config = (root / "utils" / "config.py").read_bytes()
    install(root)
    (root / "utils" / "config.py").write_bytes(config)
    found = status(root)
    assert found.state is State.PARTIAL
    assert "utils/config.py: missing line `_C.reweight = " in str(found)
    install(root)
    assert status(root).fits


def test_lines_of_another_version_are_brought_up_in_every_file(make_lift: Make) -> None:
    root = make_lift()
    install(root)
    texts = {path: path.read_text() for path in (root / "trainer.py", root / "utils" / "config.py")}
    for path, text in texts.items():
        path.write_text(text.replace(f"vlltr-plugin {__version__}", "vlltr-plugin 0.0.9"))
    assert status(root).versions == ("0.0.9",)
    install(root)
    assert {path: path.read_text() for path in texts} == texts


@pytest.mark.parametrize("part", ["trainer.py", "utils/config.py", "utils"])
def test_a_symbolic_link_is_refused(part: str, make_lift: Make, tmp_path: Path) -> None:
    root = make_lift()
    (root / part).rename(tmp_path / "elsewhere")
    (root / part).symlink_to(tmp_path / "elsewhere")
    for operation in (install, uninstall, status):
        with pytest.raises(InstallError, match="symbolic link"):
            operation(root)


def test_the_host_is_found_out(make_lift: Make, make_checkout: Make) -> None:
    assert install(make_lift()).recipe.host == "LIFT"
    assert install(make_checkout()).recipe.host == "VL-LTR"
    both = make_checkout(name="both")  # a VL-LTR checkout with files of these names is one all the same
    (both / "utils").mkdir()
    for name in ("trainer.py", "utils/config.py"):
        (both / name).write_text("x = 1\n")
    assert install(both).recipe.host == "VL-LTR"
    (both / "main.py").write_text("x = 1\n")
    uninstall(both)


def test_a_checkout_that_fits_both_is_the_one_whose_lines_it_has(make_lift: Make, host: str) -> None:
    root = make_lift()
    (root / "main.py").write_text(host)
    assert install(root, host="vl-ltr").recipe.host == "VL-LTR"
    assert status(root).fits
    uninstall(root)
    assert (root / "main.py").read_text() == host
    assert install(root, dry_run=True).recipe.host == "LIFT"


def test_the_host_can_be_named_and_a_wrong_name_is_refused(make_lift: Make, make_checkout: Make) -> None:
    with pytest.raises(InstallError, match=r"no trainer\.py, no utils/config\.py"):
        install(make_checkout(), host="lift")
    with pytest.raises(AnchorError, match=r"^main\.py"):
        install(make_lift(), host="vl-ltr")
    with pytest.raises(InstallError, match="auto or one of lift, vl-ltr"):
        install(make_lift(name="other"), host="timm")


def test_the_next_command_is_the_hosts_own(make_lift: Make, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(make_lift())
    assert main(["install", root, "--host", "lift", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f"next: vlltr-plugin install {root}"
    assert "configs/class_volume" not in out
    assert main(["install", root]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("next: python main.py YOUR-ARGUMENTS reweight.type class_volume")


FOLDER = Path(os.environ.get("VLLTR_LIFT", "."))
CHECKOUTS = sorted(path.parent for path in FOLDER.glob("*/trainer.py")) if "VLLTR_LIFT" in os.environ else []
LOOPS_BY_STEP = ("PartialCLIP", "LT-Soups")


@pytest.mark.parametrize("checkout", CHECKOUTS, ids=lambda path: path.name)
def test_real_checkouts_get_five_lines_and_are_restored_or_are_refused(checkout: Path, make_lift: Make) -> None:
    root = make_lift(name="real")
    files = ("main.py", "trainer.py", "utils/config.py")
    for file in files:
        (root / file).write_bytes((checkout / file).read_bytes())
    if checkout.name in LOOPS_BY_STEP:
        with pytest.raises(AnchorError, match=r"^trainer.py"):
            install(root)
    else:
        install(root)
        assert status(root).fits
        for file in files:
            compile((root / file).read_bytes(), file, "exec")
        command = ["diff", "-r", str(checkout / "trainer.py"), str(root / "trainer.py")]
        assert subprocess.run(command, capture_output=True, text=True, check=False).stdout.count("\n> ") == 3
    uninstall(root)
    assert {file: (root / file).read_bytes() for file in files} == {f: (checkout / f).read_bytes() for f in files}
