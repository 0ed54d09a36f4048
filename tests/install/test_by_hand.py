"""Lines inserted by hand, and classes whose training runs no line: what `install` and `status` make of them."""

import pytest
from install.small_hosts import rewrite

from vlltr_plugin.install import AnchorError, State, install, status, uninstall

LOOP = "        for epoch_idx in range(num_epochs):\n"
STEP = "            self.sched.step()\n"
WHILE = "        epoch = 0\n        while epoch < num_epochs:\n"
WAYS = {
    "with comments": ("import vlltr_plugin.hosts.lift", "reweight_hook = vlltr_plugin.hosts.lift.attach(self)"),
    "without": ("import vlltr_plugin.hosts.lift", "reweight_hook = vlltr_plugin.hosts.lift.attach(self)"),
    "names of one's own": ("from vlltr_plugin.hosts import lift as v", "self.hook = v.attach(self)"),
    "the function alone": ("from vlltr_plugin.hosts.lift import attach", "hook = attach(self)"),
}


def by_hand(root, way):
    """A loop that install refuses, with the lines adapted to it; returns those of `attach` and `end_epoch`."""
    (imported, attach), mark = WAYS[way], "  # vlltr-plugin" if way == "with comments" else ""
    end = f"            {attach.split(' = ')[0]}.end_epoch(epoch){mark}\n"
    attach = f"        {attach}{mark}\n"
    lines = ("import torch", f"{imported}{mark}\nimport torch"), (LOOP, f"{attach}{WHILE}")
    rewrite(root / "trainer.py", *lines, (STEP, f"{STEP}{end}            epoch += 1\n"))
    return attach, end


@pytest.mark.parametrize("way", WAYS)
def test_complete_lines_inserted_by_hand_are_kept_and_other_files_get_theirs(way, make_lift):
    root = make_lift()
    by_hand(root, way)
    trainer = (root / "trainer.py").read_bytes()
    report = install(root)
    assert (root / "trainer.py").read_bytes() == trainer
    assert "config_node()" in (root / "utils" / "config.py").read_text()
    assert any("kept the lines of the plug-in in trainer.py" in note for note in report.notes)
    found = status(root)
    assert (found.state, found.fits) == (State.INSTALLED, True), str(found)
    assert "trainer.py: all lines are there" in str(found)
    assert install(root).changes == ()
    uninstall(root)
    assert "vlltr_plugin" not in (root / "utils" / "config.py").read_text()
    assert ("vlltr_plugin" in (root / "trainer.py").read_text()) is (way != "with comments")


REST = '            self.events.append("rest")\n'
BATCHES = "            for batch in self.train_loader:\n                pass\n"
WRONG = {
    "of the plug-in's lines there, `end_epoch` is missing": lambda attach, end: [(end, "")],
    "`end_epoch`, stands outside the loop over epochs": lambda attach, end: [(end, ""), (REST, REST + end[4:])],
    "`end_epoch`, stands in the loop over the batches of line": lambda attach, end: [(end, f"{BATCHES}    {end}")],
    "with `attach`, which comes before": lambda attach, end: [(attach, ""), (WHILE, f"{WHILE}    {attach}")],
    ", before `attach` in line": lambda attach, end: [(attach, ""), (REST, REST + attach)],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrong", WRONG)
def test_missing_or_misplaced_lines_inserted_by_hand_are_reported(wrong, way, make_lift):
    root = make_lift()
    rewrite(root / "trainer.py", *WRONG[wrong](*by_hand(root, way)))
    with pytest.raises(AnchorError, match="trainer") as caught:
        install(root)
    assert wrong in caught.value.reason
    assert not status(root).fits
    assert wrong in str(status(root))


OWN = """

class Other(Trainer):
    def train(self):
        self.tuner.train()
        if self.plain:
            return super().train()
        return {}
"""


RETURN = "        return self.events\n"


@pytest.mark.parametrize("imports", ["from trainer import Other as T, Trainer", "import trainer"])
def test_status_follows_the_class_that_main_makes(imports, make_lift):
    root = make_lift()
    rewrite(root / "trainer.py", (RETURN, RETURN + OWN.format("[]")))
    made = "T" if imports.startswith("from") else "trainer.Other"
    (root / "main.py").write_text(f"{imports}\n\ndef main(args):\n    {made}(args).train()\n")
    said = "main.py, line 4, makes `Other`, whose own `Other.train` (trainer.py, line "
    assert any(said in note for note in install(root).notes)
    found = status(root)
    assert not found.fits
    assert any(said in problem for problem in found.problems)
    both = (".train()", ".train()\n    Trainer(args).train()")
    rewrite(root / "main.py", both, (imports, f"from trainer import Trainer\n{imports}"))
    found = status(root)
    assert found.fits
    assert any("makes `Other`" in note for note in found.notes)


@pytest.mark.parametrize("train", ["super().train()", "Trainer.train(self)"])
def test_a_subclass_that_calls_or_inherits_the_training_fits(train, make_lift):
    root = make_lift()
    rewrite(root / "trainer.py", (RETURN, RETURN + OWN.format(train)))
    (root / "sub.py").write_text("from trainer import Other, Trainer\n\n\nclass Mine(Trainer):\n    pass\n")
    (root / "main.py").write_text("from sub import Mine\nfrom trainer import Other\n\nMine({})\nOther({})\n")
    install(root)
    found = status(root)
    assert (found.fits, found.notes) == (True, ()), str(found)
