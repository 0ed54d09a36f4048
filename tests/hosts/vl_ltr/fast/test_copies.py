"""A model that is sped up, when it is copied or saved whole."""

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from .plain_model import IMAGES, assert_equal, build, sped_up

KEYS = [{"fast_head": True}, {"fast_tower": True}, {"fast_head": True, "fast_tower": True}]
OURS = ["forward", "sentence_cache", "fold", "__getstate__", "__deepcopy__"]


@pytest.fixture
def plain() -> Any:
    return build(tower=True)


@pytest.fixture(params=KEYS, ids=["head", "tower", "both"])
def fast(request: pytest.FixtureRequest, plain: Any) -> Any:
    model = sped_up(copy.deepcopy(plain), **request.param)
    model(IMAGES)  # with what it keeps
    return model


def speeded(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if any(ours in vars(module) for ours in OURS)]


def saved(model: Any) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    assert b"vlltr_plugin" not in file.getvalue()
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("through", [saved, lambda model: pickle.loads(pickle.dumps(model))], ids=["save", "pickle"])
def test_a_model_that_is_saved_whole_comes_back_as_the_plain_one(
    fast: Any, plain: Any, through: Callable[[Any], Any]
) -> None:
    loaded = through(fast)
    assert speeded(loaded) == []
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(loaded(IMAGES), plain(IMAGES), strict=True))
    assert speeded(fast) != []
    assert_equal(fast, plain)
    assert_equal(saved(sped_up(loaded, fast_head=True, fast_tower=True)), plain)


def test_a_saved_model_loads_where_the_plugin_is_not(fast: Any, tmp_path: Path) -> None:
    torch.save(fast, tmp_path / "model.pth")
    name = type(fast).__module__  # where the other process finds the model's class
    script = (
        f"import sys, {name}, torch\n"
        "for module in [name for name in sys.modules if name.startswith('vlltr_plugin')]: sys.modules[module] = None\n"
        f"model = torch.load({str(tmp_path / 'model.pth')!r}, weights_only=False)\n"
        "print(model(torch.zeros(1, 3, 8, 8))[1].shape)"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout == "torch.Size([1, 5])\n", done.stderr


def test_a_deep_copy_as_an_ema_makes_is_fast_and_computes_with_its_own_numbers(fast: Any, plain: Any) -> None:
    ema, other = copy.deepcopy(fast), copy.deepcopy(plain)
    assert speeded(ema) == speeded(fast)
    for model in (ema, other):
        with torch.no_grad():
            for _, parameter in sorted(model.named_parameters()):
                parameter.mul_(1.1)
    assert_equal(ema, other)
    assert_equal(fast, plain)
    assert_equal(saved(ema), other)


def test_shallow_copies_and_replicas_of_data_parallel_compute_plainly(fast: Any) -> None:
    for module in [module for module in fast.modules() if "forward" in vars(module)]:
        for twin in (copy.copy(module), module._replicate_for_data_parallel()):
            assert not any(ours in vars(twin) for ours in OURS)
            assert twin.forward.__func__ is type(module).forward
        assert "forward" in vars(module)
