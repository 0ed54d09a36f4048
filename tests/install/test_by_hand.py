"""Lines inserted by hand, and classes whose training runs no line: what `install` and `status` make of them."""

import pytest
from install.small_hosts import rewrite

from vlltr_plugin.install import AnchorError, State, install, status, uninstall

LOOP = "        for epoch_idx in range(num_epochs):\n"
STEP = "            self.sched.step()\n"
WHILE = "        epoch = 0\n        while epoch < num_epochs:\n"
MARK = "  # vlltr-plugin"


WAYS = {
    "with comments": ("import vlltr_plugin.hosts.lift", "reweight_hook = vlltr_plugin.hosts.lift.attach(self)", MARK),
    "without": ("import vlltr_plugin.hosts.lift", "reweight_hook = vlltr_plugin.hosts.lift.attach(self)", ""),
    "names of one's own": ("from vlltr_plugin.hosts import lift as v", "self.hook = v.attach(self)", ""),
    "the function alone": ("from vlltr_plugin.hosts.lift import attach", "hook = attach(self)", ""),
}


def by_hand(root, way):
    """A loop that install refuses, with the lines adapted to it."""
    imported, attach, mark = WAYS[way]
    hook = attach.split(" = ")[0]
    rewrite(
        root / "trainer.py",
        ("import torch", f"{imported}{mark}\nimport torch"),
        (LOOP, f"        {attach}{mark}\n{WHILE}"),
        (STEP, f"{STEP}            {hook}.end_epoch(epoch){mark}\n            epoch += 1\n"),
    )


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


REST = '            self.events.append("rest")\n'
WRONG = {
    "missing": "of the plug-in's lines there, `end_epoch` is missing",
    "after the loop": "`end_epoch`, stands outside the loop over epochs",
    "over batches": "`end_epoch`, stands in the loop over the batches of line",
    "attach inside": "with `attach`, which comes before the loop over epochs",
    "attach after": ", before `attach` in line",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrong", WRONG)
def test_missing_or_misplaced_lines_inserted_by_hand_are_reported(wrong, way, make_lift):
    root = make_lift()
    by_hand(root, way)
    _, attach, mark = WAYS[way]
    end = f"            {attach.split(' = ')[0]}.end_epoch(epoch){mark}\n"
    attach = f"        {attach}{mark}\n"
    text = (root / "trainer.py").read_text()
    if wrong == "missing":
        text = text.replace(end, "")
    elif wrong == "after the loop":
        text = text.replace(end, "").replace(REST, REST + end[4:])
    elif wrong == "over batches":
        text = text.replace(end, "            for batch in self.train_loader:\n                pass\n    " + end)
    elif wrong == "attach inside":
        text = text.replace(attach, "").replace(WHILE, WHILE + "    " + attach)
    else:
        text = text.replace(attach, "").replace(REST, REST + attach)
    (root / "trainer.py").write_text(text)
    with pytest.raises(AnchorError, match="trainer") as caught:
        install(root)
    assert WRONG[wrong] in caught.value.reason
    assert not status(root).fits
    assert WRONG[wrong] in str(status(root))


OWN = """

class Other(Trainer):
    def train(self):
        self.tuner.train()
        if self.plain:
            return super().train()
        return {}
"""


@pytest.mark.parametrize("imports", ["from trainer import Other as T, Trainer", "import trainer\nT = trainer.Other"])
def test_status_follows_the_class_that_main_makes(imports, make_lift):
    root = make_lift()
    rewrite(root / "trainer.py", ("        return self.events\n", f"        return self.events\n{OWN.format('[]')}"))
    made = "trainer.Other" if imports.startswith("import") else "T"
    head = f"{imports.partition(chr(10))[0]}\n"
    (root / "main.py").write_text(f"{head}\ndef main(args):\n    {made}(args).train()\n")
    report = install(root)
    said = "main.py, line 4, makes `Other`, whose own `Other.train` (trainer.py, line "
    assert any(said in note for note in report.notes), report.notes
    found = status(root)
    assert not found.fits
    assert any(said in problem for problem in found.problems)
    rewrite(
        root / "main.py",
        (".train()", ".train()\n    Trainer(args).train()"),
        (head, f"from trainer import Trainer\n{head}"),
    )
    found = status(root)
    assert found.fits
    assert any("makes `Other`" in note for note in found.notes)


@pytest.mark.parametrize("train", ["super().train()", "Trainer.train(self)"])
def test_a_subclass_that_calls_or_inherits_the_training_fits(train, make_lift):
    root = make_lift()
    rewrite(root / "trainer.py", ("        return self.events\n", f"        return self.events\n{OWN.format(train)}"))
    (root / "sub.py").write_text("from trainer import Other, Trainer\n\n\nclass Mine(Trainer):\n    pass\n")
    (root / "main.py").write_text("from sub import Mine\nfrom trainer import Other\n\nMine({})\nOther({})\n")
    install(root)
    found = status(root)
    assert (found.fits, found.notes) == (True, ()), str(found)
