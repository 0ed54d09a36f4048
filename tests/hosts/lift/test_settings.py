"""A run that asks for re-weighting and never gets it: refused at its first step, whatever the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hosts.lift.conftest import Build, Make, change

OWN_TRAIN = (
    "class Other(Trainer):\n    def train(self):\n        for image, label in self.train_loader:\n"
    "            self.criterion(self.model(image), label).backward()\n            self.optim.step()\n"
)


def unattach(standin: Path, way: str) -> None:
    """Changes a checkout with the lines so that `attach` is never called."""
    trainer = standin / "trainer.py"
    if way == "reverted":
        lines = trainer.read_text().splitlines(True)
        trainer.write_text("".join(line for line in lines if "# vlltr-plugin" not in line))
        return
    trainer.write_text(f"{trainer.read_text()}\n\n{OWN_TRAIN}")
    change(standin, "import Trainer", "import Other as Trainer", "main.py")
    if way == "a copy of the config":
        change(standin, "import _C as cfg", "import _C\n\ncfg = _C.clone()", "main.py")


@pytest.mark.parametrize("way", ["reverted", "subclass", "a copy of the config"])
def test_a_type_without_attach_is_refused_at_the_first_step(way: str, build: Build, standin: Path) -> None:
    unattach(standin, way)
    place = r"trainer\.py, line \d+, makes a step without it"
    with pytest.raises(ValueError, match=rf"reweight\.type is 'class_volume', but .*{place}"):
        build(reweight_type="class_volume")()
    build()()  # the plain run trains


def test_attach_ends_the_waiting_for_all_later_optimizers(run: Make, build: Build) -> None:
    run(reweight_type="class_volume", num_epochs=1)
    run(num_epochs=1)
    build(reweight_type="class_volume", num_epochs=1)()
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    torch.optim.SGD([weight], 0.5).step()
    assert float(weight) == 0.5
