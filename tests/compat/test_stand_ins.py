"""Stand-ins for what VL-LTR imports: OpenAI's names and ids in the tokenizer, mmcv, timm's old names, Pillow."""

import importlib
import importlib.util
import pickle
import random
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageOps

from vlltr_plugin.compat import stand_ins

augment = pytest.importorskip("timm.data.auto_augment", exc_type=ImportError)
FAULTS = {
    "ftfy_is_missing": ("import ftfy_is_missing", ModuleNotFoundError),
    "libGL.so.1": ("raise ImportError('libGL.so.1: cannot open shared object file')", ImportError),
    "cannot import name 'packaging'": ("from json import packaging", ImportError),
    "invalid syntax": ("1 1", SyntaxError),
    "broken for good": ("raise RuntimeError('broken for good')", RuntimeError),
}
BROKEN = {
    "clip": {
        "clip/__init__.py": "from .clip import *",
        "clip/clip.py": "from .simple_tokenizer import SimpleTokenizer",
        "clip/simple_tokenizer.py": "CODE\nclass SimpleTokenizer: pass",
    },
    "mmcv": {"mmcv/__init__.py": "from .utils import *", "mmcv/utils.py": "CODE"},
    "timm": {"timm/__init__.py": "CODE", "timm/models/__init__.py": "", "timm/data/__init__.py": ""},
    "timm.models": {"timm/__init__.py": "", "timm/models/__init__.py": "CODE", "timm/data/__init__.py": ""},
    "timm.data": {"timm/__init__.py": "", "timm/models/__init__.py": "", "timm/data/__init__.py": "CODE"},
}
STATEMENTS = {
    "clip": ("from clip import clip", "from clip.simple_tokenizer import SimpleTokenizer", "import clip"),
    "mmcv": ("from mmcv import Config", "import mmcv", "import mmcv.utils"),
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files of packages that come before all others."""

    def write_all(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        tops = {name.partition("/")[0].removesuffix(".py") for name in files}
        for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(str(tmp_path))

    before = set(sys.modules)
    yield write_all
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        if str(tmp_path) in str(getattr(module, "__file__", "") or getattr(module, "__path__", "")):
            del sys.modules[name]


@pytest.fixture
def pillow_13(monkeypatch):
    """A Pillow whose `posterize` refuses zero bits, and timm's operations as they were."""
    by_pillow = ImageOps.posterize

    def posterize(image, bits):
        if bits < 1:
            raise ValueError("bits must be between or equal to 1 and 8")
        return by_pillow(image, bits)

    monkeypatch.setattr(ImageOps, "posterize", posterize)
    for name in [name for name in augment.NAME_TO_OP if name.startswith("Posterize")]:
        monkeypatch.setitem(augment.NAME_TO_OP, name, augment.posterize)


@pytest.mark.usefixtures("pillow_13")
@pytest.mark.parametrize("message", FAULTS)
@pytest.mark.parametrize("package", BROKEN)
def test_a_package_that_does_not_import_keeps_its_own_error(write, package, message):
    code, error = FAULTS[message]
    write({name: text.replace("CODE", code) for name, text in BROKEN[package].items()})
    stand_ins.supply_clip()
    stand_ins.supply_mmcv()
    stand_ins.supply_timm_registry()
    stand_ins.accept_zero_bit_posterize()
    for statement in STATEMENTS.get(package, (f"import {package}",)):
        with pytest.raises(error, match=message):
            exec(statement)


def test_a_folder_named_mmcv_is_completed(write):
    write({"mmcv/readme.txt": ""})
    stand_ins.supply_mmcv()
    assert importlib.import_module("mmcv").Config is stand_ins.Config


def test_ids_are_those_of_openai_and_start_and_end_carry_its_names():
    pytest.importorskip("open_clip", exc_type=ImportError)
    tokenizer = stand_ins.load_tokenizer()
    assert (tokenizer.encoder["<|startoftext|>"], tokenizer.encoder["<|endoftext|>"]) == (49406, 49407)
    assert len(tokenizer.encoder) == len(tokenizer.decoder) == 49408
    for text, ids in (
        ("a photo of a Cat.", [320, 1125, 539, 320, 2368, 269]),
        ("  It's   3.14 &amp; caf\u00e9 ", [585, 568, 274, 269, 272, 275, 261, 15304]),
        ("x <|endoftext|>", [343, 49407]),
    ):
        assert tokenizer.encode(text) == ids


def test_a_missing_open_clip_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip.tokenizer", None)
    with pytest.raises(ModuleNotFoundError, match="pip install open_clip_torch"):
        stand_ins.load_tokenizer()


@pytest.fixture
def without_clip(monkeypatch):
    for name in ("clip", "clip.simple_tokenizer"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("without_clip")
def test_a_missing_clip_is_supplied_twice_without_harm():
    stand_ins.supply_clip()
    first = importlib.import_module("clip.simple_tokenizer")
    stand_ins.supply_clip()
    assert importlib.import_module("clip.simple_tokenizer") is first
    assert first.SimpleTokenizer is stand_ins.load_tokenizer


@pytest.mark.parametrize("late", [False, True], ids=["there before", "on a path that is added later"])
@pytest.mark.parametrize("code", ["SimpleTokenizer = 'real'", "import nothing_like_it"], ids=["real", "broken"])
def test_a_real_clip_is_used(late, code, write, without_clip):
    steps = [lambda: write({"clip/__init__.py": "", "clip/simple_tokenizer.py": code}), stand_ins.supply_clip]
    for step in reversed(steps) if late else steps:
        step()
    if code.startswith("import"):
        with pytest.raises(ModuleNotFoundError, match="nothing_like_it"):
            importlib.import_module("clip.simple_tokenizer")
    else:
        assert importlib.import_module("clip.simple_tokenizer").SimpleTokenizer == "real"


@pytest.mark.parametrize("file", ["clip/readme.txt", "clip/__init__.py", "clip.py", "imported before"])
def test_something_else_named_clip_gets_the_tokenizer_and_stays(file, write, without_clip, monkeypatch):
    other = ModuleType("clip")
    if file == "imported before":
        other.own = True
        monkeypatch.setitem(sys.modules, "clip", other)
    else:
        write({file: "own = True"})
    stand_ins.supply_clip()
    assert importlib.import_module("clip.simple_tokenizer").SimpleTokenizer is stand_ins.load_tokenizer
    assert hasattr(importlib.import_module("clip"), "own") == (file != "clip/readme.txt")
    assert (sys.modules["clip"] is other) == (file == "imported before")


def posterize_with_full_magnitude():
    random.seed(0)
    operation = augment.AugmentOp("PosterizeIncreasing", prob=1.0, magnitude=10, hparams={"magnitude_std": 0})
    return operation(Image.new("RGB", (4, 4), (200, 120, 40)))


@pytest.mark.usefixtures("pillow_13")
def test_zero_bits_give_a_black_image_instead_of_an_error_and_other_counts_are_timm_s():
    with pytest.raises(ValueError, match="bits must be"):
        posterize_with_full_magnitude()
    stand_ins.accept_zero_bit_posterize()
    stand_ins.accept_zero_bit_posterize()
    black = posterize_with_full_magnitude()
    assert (black.mode, black.getextrema()) == ("RGB", ((0, 0),) * 3)
    image = Image.effect_noise((8, 8), 80).convert("RGB")
    for bits in range(1, 9):
        assert stand_ins.posterize_or_black(image, bits).tobytes() == augment.posterize(image, bits).tobytes()


@pytest.mark.usefixtures("pillow_13")
def test_the_host_s_policy_runs_for_many_images_and_pickles():
    stand_ins.accept_zero_bit_posterize()
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (timm draws from numpy's global state)
    policy = augment.rand_augment_transform("rand-m9-mstd0.5-inc1", {"img_mean": (100, 100, 100)})
    policy = pickle.loads(pickle.dumps(policy))  # as data loaders that spawn their workers do
    image = Image.new("RGB", (4, 4), (200, 120, 40))
    for _ in range(3000):  # without the shim about one in 650 fails
        policy(image)


@pytest.mark.usefixtures("pillow_13")
def test_nothing_changes_where_pillow_accepts_zero_bits(monkeypatch):
    monkeypatch.setattr(ImageOps, "posterize", lambda image, bits: image)
    stand_ins.accept_zero_bit_posterize()
    assert augment.NAME_TO_OP["PosterizeIncreasing"] is augment.posterize


@pytest.mark.parametrize("dropped", [False, True])
def test_a_registry_is_supplied_only_where_timm_has_dropped_it(monkeypatch, dropped):
    import timm.models

    name, find_spec = "timm.models.registry", importlib.util.find_spec
    monkeypatch.delitem(sys.modules, name, raising=False)
    there = not dropped and find_spec(name) is not None
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *more: None if dropped and n == name else find_spec(n))
    stand_ins.supply_timm_registry()
    assert (name in sys.modules) is not there
    if not there:
        assert sys.modules.pop(name).register_model is timm.models.register_model
