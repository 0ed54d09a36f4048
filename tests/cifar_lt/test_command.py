import pytest
from cifar_runs import run

from vlltr_plugin.cifar_lt.methods import METHODS
from vlltr_plugin.cifar_lt.results import append, read
from vlltr_plugin.cli import main


def test_a_short_sweep_from_the_command_line(digits_npz, tmp_path, capsys):
    results = tmp_path / "new" / "results.jsonl"
    options = [
        "--npz",
        str(digits_npz),
        "--results",
        str(results),
        "--epochs",
        "2",
        "--seeds",
        "2",
        "--imbalance",
        "20",
    ]
    assert main(["cifar-lt", *options, "--method", "ce", "dv", "--share-warmup", "--sampler", "sqrt"]) == 0
    lines = read(results)
    assert [(line["method"], line["seed"]) for line in lines] == [("ce", 0), ("dv", 0), ("ce", 1), ("dv", 1)]
    assert {(line["dataset"], line["imbalance"], line["sampler"]) for line in lines} == {("cifar10", 20, "sqrt")}
    capsys.readouterr()
    assert main(["cifar-lt", "--results", str(results), "--table", "--plot", str(tmp_path / "plot.png")]) == 0
    printed = capsys.readouterr().out
    assert "| dv | 2 |" in printed
    assert (tmp_path / "plot.png").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "inverse-dwr"], "did you mean 'inverse-drw'"),
        (["--device", "cuda"], "torch finds none"),
        (["--npz", "missing.npz"], "Expected an .npz file"),
        (["--mixup", "-1"], "mixup to be 0 or more"),
        (["--table"], "No such file"),
    ],
)
def test_bad_options_are_one_line_before_anything_is_written(tmp_path, capsys, digits_npz, options, words):
    results = tmp_path / "results.jsonl"
    given = options if "--npz" in options else ["--npz", str(digits_npz), *options]
    assert main(["cifar-lt", "--results", str(results), *given]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_something_else_is_never_added_to(tmp_path, capsys, digits_npz):
    results = tmp_path / "notes.txt"
    results.write_text('{"a": 1}\n')
    assert main(["cifar-lt", "--results", str(results), "--npz", str(digits_npz), "--epochs", "1"]) == 2
    assert "to be the result of a run" in capsys.readouterr().err
    assert results.read_text() == '{"a": 1}\n'


def test_what_the_file_holds_is_not_trained_again(tmp_path, capsys, digits_npz):
    results = tmp_path / "results.jsonl"
    append(results, run("ce", 0, 30.0, epochs=1, start_epoch=1))
    options = ["--npz", str(digits_npz), "--epochs", "1", "--start-epoch", "1", "--method", "ce", "--seeds", "1"]
    assert main(["cifar-lt", "--results", str(results), *options]) == 0
    assert "in the results already" in capsys.readouterr().out
    assert len(read(results)) == 1


def test_help_names_every_method(capsys):
    with pytest.raises(SystemExit):
        main(["cifar-lt", "--help"])
    listed = capsys.readouterr().out.split("methods: ")[1].replace("\n", " ").split(", ")
    assert [name.replace(" ", "") for name in listed] == list(METHODS)
