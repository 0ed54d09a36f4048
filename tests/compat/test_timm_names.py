"""timm's old names are there, and its RandAugment survives Pillow 13."""

import importlib.util
import pickle
import random
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

from vlltr_plugin.compat.stand_ins import accept_zero_bit_posterize, posterize_or_black, supply_timm_registry

augment = pytest.importorskip("timm.data.auto_augment", exc_type=ImportError)
HOST_POLICY = "rand-m9-mstd0.5-inc1"


def pillow_refuses(*_: object) -> None:
    raise ValueError("bits must be between or equal to 1 and 8")


@pytest.fixture
def original_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in augment.NAME_TO_OP if name.startswith("Posterize")]:
        monkeypatch.setitem(augment.NAME_TO_OP, name, augment.posterize)


def posterize_with_full_magnitude() -> Image.Image:
    random.seed(0)
    operation = augment.AugmentOp("PosterizeIncreasing", prob=1.0, magnitude=10, hparams={"magnitude_std": 0})
    return operation(Image.new("RGB", (4, 4), (200, 120, 40)))


@pytest.mark.usefixtures("original_operations")
def test_zero_bits_give_a_black_image_instead_of_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    by_pillow = ImageOps.posterize

    def as_pillow_13(image: Image.Image, bits: int) -> Image.Image:
        return by_pillow(image, bits) if bits > 0 else pillow_refuses()  # type: ignore[return-value]

    monkeypatch.setattr(ImageOps, "posterize", as_pillow_13)
    with pytest.raises(ValueError, match="bits must be"):
        posterize_with_full_magnitude()
    accept_zero_bit_posterize()
    accept_zero_bit_posterize()
    image = posterize_with_full_magnitude()
    assert image.mode == "RGB"
    assert not np.asarray(image).any()


@pytest.mark.usefixtures("original_operations")
def test_nothing_changes_where_pillow_accepts_zero_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageOps, "posterize", lambda image, bits: image)
    accept_zero_bit_posterize()
    assert augment.NAME_TO_OP["PosterizeIncreasing"] is augment.posterize


@pytest.mark.parametrize("bits", range(1, 9))
def test_other_bit_counts_are_timm_s(bits: int) -> None:
    image = Image.effect_noise((8, 8), 80).convert("RGB")
    assert posterize_or_black(image, bits).tobytes() == augment.posterize(image, bits).tobytes()


@pytest.mark.usefixtures("original_operations")
def test_the_host_s_policy_runs_for_many_images_and_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlltr_plugin.compat.stand_ins._pillow_posterizes_to_zero_bits", lambda: False)
    accept_zero_bit_posterize()
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (timm draws from numpy's global state)
    policy = augment.rand_augment_transform(HOST_POLICY, {"img_mean": (100, 100, 100)})
    policy = pickle.loads(pickle.dumps(policy))  # as data loaders that spawn their workers do
    image = Image.new("RGB", (4, 4), (200, 120, 40))
    for _ in range(3000):  # without the shim about one in 650 fails
        policy(image)


def test_a_registry_that_timm_still_has_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "timm.models.registry", raising=False)
    there = importlib.util.find_spec("timm.models.registry") is not None
    supply_timm_registry()
    assert ("timm.models.registry" in sys.modules) is not there


def test_a_registry_that_timm_dropped_is_supplied(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm.models

    find_spec = importlib.util.find_spec
    monkeypatch.delitem(sys.modules, "timm.models.registry", raising=False)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "timm.models.registry" else find_spec(name)
    )
    supply_timm_registry()
    registry = sys.modules.pop("timm.models.registry")
    assert registry.register_model is timm.models.register_model
