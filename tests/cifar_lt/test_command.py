import os
import sys

import numpy as np
import pytest
from cifar_runs import run

from vlltr_plugin.cifar_lt.data import profile
from vlltr_plugin.cifar_lt.methods import METHODS
from vlltr_plugin.cifar_lt.results import append, read
from vlltr_plugin.cli import main

SHORT = ("--epochs", "1", "--start-epoch", "1", "--seeds", "1")


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results.jsonl"


def cifar_lt(results, *options):
    return main(["cifar-lt", "--results", str(results), *map(str, options)])


def test_a_short_sweep_from_the_command_line(digits_npz, tmp_path, capsys):
    results = tmp_path / "new" / "results.jsonl"
    options = ["--npz", digits_npz, "--imbalance", 20, "--sampler", "sqrt", "--epochs", 2, "--share-warmup"]
    assert cifar_lt(results, *options, "--method", "ce", "dv", "--seeds", 2, "--together", 2) == 0
    lines = read(results)
    assert [(line["method"], line["seed"]) for line in lines] == [("ce", 0), ("ce", 1), ("dv", 0), ("dv", 1)]
    assert {(line["dataset"], line["imbalance"], line["sampler"]) for line in lines} == {("digits.npz", 20, "sqrt")}
    capsys.readouterr()
    assert cifar_lt(results, "--table", "--plot", tmp_path / "plot.png") == 0
    assert "| dv | 2 |" in capsys.readouterr().out
    assert (tmp_path / "plot.png").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "inverse-dwr"], "did you mean 'inverse-drw'"),
        (["--device", "cuda"], "torch finds none"),
        (["--device", "nowhere"], "--device to be auto, cpu or cuda"),
        (["--npz", "missing.npz"], "Expected an .npz file"),
        *((["--mixup", share], "mixup to be 0 or more") for share in ("-1", "nan")),
        (["--table"], "No such file"),
        *((["--imbalance", factor], "imbalance to be 1 or more") for factor in ("0", "-10", "0.5", "nan", "inf")),
        (["--imbalance", "100"], "to be that of"),
        (["--dataset", "cifar100"], "leave --dataset out"),
        (["--first-seed", "-1"], "--first-seed to be 0 or more"),
    ],
)
def test_bad_options_are_one_line_before_anything_is_written(results, capsys, digits_npz, options, words):
    assert cifar_lt(results, "--npz", digits_npz, *options) == 2  # of two --npz the last one counts
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert list(results.parent.iterdir()) == []


@pytest.mark.parametrize("method", ["pv", "pv-mean"])
def test_more_axes_than_resnet_32_has_features_are_refused_before_training(tmp_path, results, capsys, method):
    labels, images = np.arange(100), np.zeros((100, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert cifar_lt(results, "--npz", tmp_path / "data.npz", *SHORT, "--method", "ce", method) == 2
    assert "64 features of ResNet-32" in capsys.readouterr().err
    assert not results.exists()
    assert not METHODS["pv10"].has_no_volume(100)
    assert not METHODS[method].has_no_volume(10)


def test_results_are_not_appended_to_another_kind_of_file(results, capsys, digits_npz):
    results.write_text('{"a": 1}\n')
    assert cifar_lt(results, "--npz", digits_npz, "--epochs", 1) == 2
    assert "to be the result of a run" in capsys.readouterr().err
    assert results.read_text() == '{"a": 1}\n'


@pytest.mark.parametrize("change", ["x_train", "y_train", "x_test", "y_test", None])
def test_results_are_reused_for_identical_images_only(tmp_path, results, digits_npz, change):
    with np.load(digits_npz) as file:
        arrays = dict(file)
    if change:
        arrays[change] = arrays[change][::-1]
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / (digits_npz.name if change else "renamed.npz")
    np.savez(other, **arrays)
    different = 2 if change else 1
    for file, lines in ((digits_npz, 1), (other, different), (digits_npz, different), (other, different)):
        assert cifar_lt(results, "--npz", file, *SHORT, "--method", "ce") == 0
        assert len(read(results)) == lines


def test_results_without_a_digest_are_read_but_not_reused(results, capsys, digits_npz):
    append(results, run("ce", 0, 30.0, epochs=1, start_epoch=1, dataset=digits_npz.name, imbalance=20))
    assert cifar_lt(results, "--npz", digits_npz, *SHORT, "--method", "ce") == 0
    assert "in the results already" not in capsys.readouterr().out
    assert cifar_lt(results, "--table") == 0
    printed = capsys.readouterr().out
    assert "images not recorded: test error" in printed
    assert printed.count("| ce | 1 |") == 2


def test_an_npz_has_its_own_imbalance_and_is_not_called_cifar(tmp_path, results, capsys):
    counts, images = profile(25, 5, 10), np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3), dtype=np.uint8)
    y_train, y_test = (np.repeat(np.arange(10), repeats) for repeats in (counts, 2))
    with (tmp_path / "cifar10").open("wb") as file:
        np.savez(file, x_train=images[: sum(counts)], y_train=y_train, x_test=images[:20], y_test=y_test)
    assert cifar_lt(results, "--npz", tmp_path / "cifar10", "--dataset", "cifar10", *SHORT, "--method", "ce") == 0
    assert "are not those of cifar10" in capsys.readouterr().out
    (line,) = read(results)
    assert (line["dataset"], line["imbalance"], line["class_counts"]) == ("cifar10.npz", 5, counts)


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (["--epochs", 2, "--method", "dv", "inverse-drw", "ib"], {"dv", "inverse-drw", "ib"}),
        (["--epochs", 1, "--start-epoch", 1, "--method", "dv", "ce", "inverse"], {"dv"}),
        (["--epochs", 2, "--start-epoch", 1, "--method", "dv", "inverse-drw"], set()),
        (["--epochs", 2, "--start-epoch", 7, "--method", "ldam-drw"], {"ldam-drw"}),
    ],
)
def test_weights_that_can_never_apply_are_warned_of(results, capsys, digits_npz, options, warned):
    assert cifar_lt(results, "--npz", digits_npz, "--seeds", 1, *options) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert {line.split(":")[1].strip() for line in warnings} == warned
    assert all("never apply, and the run is that of" in line for line in warnings)
    for line in read(results):
        assert (set(line["weights"]) == {1.0}) == (line["method"] in {*warned, "ce"})


def test_a_plot_cannot_overwrite_the_results_file(results, capsys):
    append(results, run("ce", 0, 30.0))
    before, link = results.read_bytes(), results.with_name("link.png")
    link.symlink_to(results)
    for path in (results, link):
        assert cifar_lt(results, "--plot", path) == 2
        assert "is the results file" in capsys.readouterr().err
    assert results.read_bytes() == before


@pytest.fixture
def plot(results):
    """The plot asked for in the next tests; the data set's name is no UTF-8."""
    pytest.importorskip("matplotlib")
    append(results, run("ce", 0, 30.0, dataset=os.fsdecode(b"digits\xff.npz")))
    return results.with_name("plot.png")


def test_a_plot_is_drawn_even_if_the_output_pipe_is_closed(results, monkeypatch, plot):
    monkeypatch.delattr("builtins.print")
    with pytest.raises(NameError):
        cifar_lt(results, "--table", "--plot", plot)
    assert plot.exists()


def test_the_tables_come_even_if_nothing_can_be_drawn(results, capsys, plot):
    append(results, run("dv", 0, 30.0, epochs=30))
    assert cifar_lt(results, "--table", "--plot", plot) == 2
    printed = capsys.readouterr()
    assert "| ce |" in printed.out
    assert "under one recipe" in printed.err


def test_without_matplotlib_a_plot_is_refused_before_the_tables(results, capsys, monkeypatch, plot):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cifar_lt(results, "--table", "--plot", plot) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "[report]" in captured.err
    assert cifar_lt(results, "--table") == 0


def test_help_names_every_method(capsys):
    with pytest.raises(SystemExit):
        main(["cifar-lt", "--help"])
    listed = capsys.readouterr().out.split("methods: ")[1].replace("\n", " ").split(", ")
    assert [name.replace(" ", "") for name in listed] == list(METHODS)
