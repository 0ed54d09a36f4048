"""Config files are read as mmcv 1.x reads them (the expected values were checked against mmcv 1.3.8 and 1.7.2)."""

import copy
import importlib
import json
import pickle
import sys
from types import ModuleType

import pytest

from vlltr_plugin.compat.stand_ins import Config, load, supply_mmcv


@pytest.fixture
def read(tmp_path):
    """Write the given files, and read `a.py`."""

    def write_and_read(**files):
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return Config.fromfile(tmp_path / "a.py")

    return write_and_read


def test_top_level_variables_without_imports_and_functions(read):
    text = "import math\ndef f(): return 1\n__hidden = 3\ncfg = dict(a=f(), b=[dict(x=math.floor(2.5))])\nd = dict(z=3)"
    assert read(a=text)._cfg_dict == {"cfg": {"a": 1, "b": [{"x": 2}]}, "d": {"z": 3}}


def test_bases_are_relative_to_the_config_that_names_them_and_may_be_several(read):
    files = {"sub__b": "_base_ = '../c.py'\ncfg = dict(b=2)", "c": "cfg = dict(a=0, c=3)", "d": "more = dict(z=3)"}
    merged = read(a="_base_ = ['sub/b.py', 'd.py']\ncfg = dict(a=1)", **files)
    assert merged._cfg_dict == {"cfg": {"a": 1, "b": 2, "c": 3}, "more": {"z": 3}}


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        ("dict(a=1, n=dict(y=5), l=[3], z=None)", {"a": 1, "n": {"x": 1, "y": 5}, "l": [3], "z": None}),
        ("dict(n=dict(_delete_=True, y=5))", {"a": 0, "n": {"y": 5}, "l": [1, 2], "z": 4}),
        ("dict(_delete_=True, y=5)", {"y": 5}),
        ("dict(n=dict(_delete_=False, y=5))", {"a": 0, "n": {"x": 1, "y": 5}, "l": [1, 2], "z": 4}),
        ("dict(a=dict(_delete_=True, y=5))", {"a": {"y": 5}, "n": {"x": 1}, "l": [1, 2], "z": 4}),
        ("dict(b=dict(_delete_=True, y=5))", {"a": 0, "n": {"x": 1}, "l": [1, 2], "z": 4, "b": {"y": 5}}),
        ("dict(n=3)", {"a": 0, "n": 3, "l": [1, 2], "z": 4}),
    ],
)
def test_child_and_base_are_merged_key_by_key_and_delete_replaces_instead(read, child, expected):
    merged = read(a=f"_base_ = 'b.py'\ncfg = {child}", b="cfg = dict(a=0, n=dict(x=1), l=[1, 2], z=4)\nm = dict(q=1)")
    assert merged._cfg_dict == {"cfg": expected, "m": {"q": 1}}


def test_keys_are_attributes_and_values_stay_plain(read):
    config = read(a="cfg = dict(epochs=2, nested=dict(type='x'))")
    assert config.cfg.nested.type == config["cfg"]["nested"]["type"] == "x"
    assert (list(config), len(config)) == (["cfg"], 1)
    assert type(config._cfg_dict["cfg"]["nested"]) is dict
    with pytest.raises(AttributeError, match="no key 'epoch'; it has epochs, nested"):
        _ = config.cfg.epoch
    assert pickle.loads(pickle.dumps(copy.deepcopy(config))).cfg.epochs == 2


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"a": "cfg = dict(a=1\n"}, SyntaxError, r"a\.py is not valid Python: line 1"),
        ({}, FileNotFoundError, r"There is no config .*a\.py"),
        ({"a": "_base_ = 'gone.py'"}, FileNotFoundError, r"gone\.py \(a `_base_` of .*a\.py\)"),
        ({"a": "_base_ = 'b.py'", "b": "_base_ = 'a.py'"}, ValueError, "extends itself"),
        ({"a": "lr = 0.1"}, TypeError, r"`lr` is 0\.1\. Move it into one, as in cfg = dict\(lr=\.\.\.\)"),
        ({"a": "_base_ = 'b.py'\ncfg = dict(a=dict(y=1))", "b": "cfg = dict(a=0)"}, TypeError, "_delete_=True"),
        ({"a": "_base_ = 'b.yaml'"}, ValueError, r"Expected a \.py config"),
        ({"a": "_base_ = ['b.py', 'c.py']", "b": "o = dict(x=1)", "c": "o = dict(z=3)"}, KeyError, "o more than once"),
    ],
)
def test_errors_name_the_file_and_the_remedy(read, files, error, message):
    with pytest.raises(error, match=message):
        read(**files)


def test_load_reads_json_only(tmp_path):
    path = tmp_path / "train2018.json"
    path.write_text(json.dumps({"images": ["é"]}, ensure_ascii=False), encoding="utf-8")
    assert load(str(path)) == {"images": ["é"]}
    with pytest.raises(ValueError, match=r"\.json"):
        load(tmp_path / "a.pkl")


def test_a_real_mmcv_is_left_alone_and_a_newer_one_completed(monkeypatch):
    real, newer = ModuleType("mmcv"), ModuleType("mmcv")
    real.Config, real.load = object(), object()
    before = dict(vars(real))
    for module in (real, newer):
        monkeypatch.setitem(sys.modules, "mmcv", module)
        supply_mmcv()
    assert vars(real) == before
    assert (newer.Config, newer.load) == (Config, load)


def test_a_missing_mmcv_is_supplied_and_one_on_a_path_that_is_added_later_is_used(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "mmcv", raising=False)
    supply_mmcv()
    assert importlib.import_module("mmcv").Config is Config
    monkeypatch.delitem(sys.modules, "mmcv")
    (tmp_path / "mmcv.py").write_text("Config = 'real'")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.import_module("mmcv").Config == "real"
    monkeypatch.delitem(sys.modules, "mmcv")
