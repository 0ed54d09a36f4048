import pytest
from cifar_runs import run

from vlltr_plugin.cifar_lt.data import profile
from vlltr_plugin.cifar_lt.plot import draw
from vlltr_plugin.cifar_lt.tables import PUBLISHED_ROW, notes, published, published_error, tables


def cells(sheet, row):
    return dict(zip(sheet.header, next(cells for cells in sheet.rows if cells[0] == row), strict=True))


def test_a_repeated_run_is_in_no_mean_twice_and_named():
    runs = [run("ce", 0, 10.0), run("ce", 1, 30.0), run("ce", 0, 40.0, group_errors={"many": 90.0, "medium": 90.0})]
    found = cells(tables(runs)[0], "ce")
    assert (found["seeds"], found["last epoch"], found["many"]) == ("2", "35.0 ±63.5", "55.0")
    assert "ce seed 0 (2 lines)" in notes(runs)[0]
    assert not any("Repeated" in note for note in notes(runs[:2]))


def test_other_images_of_one_name_have_tables_of_their_own():
    runs = [run("ce", 0, 10.0, data="a" * 16), run("ce", 0, 30.0, data="b" * 16), run("ce", 0, 50.0)]
    overview, *sheets = tables(runs)
    assert overview.header[1:] == tuple(f"IF 100\nimages {which}" for which in ("aaaaaaaa", "bbbbbbbb", "not recorded"))
    assert [sheet.rows[0][2] for sheet in sheets[::2]] == ["10.0", "30.0", "50.0"]
    assert len({sheet.title for sheet in sheets}) == 6
    with pytest.raises(ValueError, match="same images"):
        draw(runs, None)


@pytest.mark.parametrize(
    ("method", "changes", "shown"),
    [
        ("ce", {}, "26.5"),
        ("ce", {"class_counts": profile(5000, 100, 10)}, "26.5"),
        ("ce", {"class_counts": profile(500, 100, 10)}, "-"),
        ("ce", {"class_counts": [5000] * 5 + [50] * 5}, "-"),
        ("ce", {"dataset": "noise.npz"}, "-"),
        ("ce", {"sampler": "sqrt"}, "-"),
        ("ce", {"mixup": 0.2}, "-"),
        ("pv-mean", {"weights": [1.0] * 10}, "21.3"),
        ("pv-mean", {"dataset": "cifar100", "weights": [1.0] * 100}, "-"),  # 100 axes in 64 features
    ],
)
def test_published_errors_are_shown_for_the_papers_images_and_recipe_only(method, changes, shown):
    assert cells(tables([run(method, 0, 30.0, **changes)])[0], method)["published"] == shown


def test_a_note_says_where_published_errors_stand_beside_runs_of_other_lengths():
    usual, short = run("ce", 0, 30.0), run("dv", 0, 30.0, epochs=2, start_epoch=1)
    assert notes([usual]) == []
    assert (
        "of 200 epochs; here they also stand beside runs of 2, 30."
        in notes([usual, short, run("ce", 1, 30.0, epochs=30, start_epoch=24)])[0]
    )
    assert notes([{**short, "sampler": "sqrt"}]) == []  # no published error is shown


def test_published_numbers_are_the_papers():
    known = {("ce", "cifar10", 200): 39.9, ("dv", "cifar10", 100): 20.8, ("pv10-mean", "cifar100", 10): 38.5}
    known |= {
        ("dv-s30", "cifar100", 100): 52.6,
        ("dv-s30", "cifar10", 100): None,
        ("inverse-drw", "cifar10", 100): None,
    }
    assert {key: published_error(*key) for key in known} == known
    assert set(PUBLISHED_ROW.values()) == set(published()) - {"source"}


def test_the_table_of_errors_shows_means_intervals_and_the_published_value():
    sheet = tables([run("dv", 0, 22.0), run("dv", 1, 24.0), run("ce", 0, 30.0)])[0]
    found = cells(sheet, "dv")
    assert sheet.title == "CIFAR-10-LT, 200 epochs, IF 100: test error, %; ± 95 % interval over seeds (Student's t)"
    assert (found["seeds"], found["last epoch"], found["best epoch"]) == ("2", "23.0 ±12.7", "22.0 ±12.7")
    assert (found["many"], found["medium"]) == ("13.0", "43.0")
    assert (found["published"], found["best minus\npublished"]) == ("20.8", "+1.2")
    assert (found["largest /\nsmallest radius"], found["largest /\nsmallest weight"]) == ("2.72", "4")
    assert cells(sheet, "ce")["last epoch"] == "30.0"
    assert cells(sheet, "ce")["largest /\nsmallest radius"] == "-"


def test_the_table_of_differences_is_paired_over_the_seeds():
    runs = [run(name, seed, 30.0 + seed + shift) for name, shift in (("ce", 0.0), ("dv", -5.0)) for seed in (0, 7, 8)]
    runs += [run("inverse-drw", seed, error) for seed, error in ((0, 26.0), (7, 31.0))]
    sheet = tables(runs)[1]
    assert cells(sheet, "dv")["minus ce"] == "-5.0 ±0.0 *"
    assert cells(sheet, "dv")["minus inverse-drw"] == "+0.0 ±12.7"
    assert cells(sheet, "dv")["minus dv"] == "-"


def test_several_imbalance_factors_make_an_overview_like_table_1_and_recipes_are_never_mixed():
    runs = [run("ce", 0, 38.0, imbalance=200), run("ce", 0, 27.5), run("dv", 0, 21.0)]
    overview, *rest = tables([*runs, run("ce", 0, 50.0, epochs=30, sampler="sqrt")])
    assert overview.header == ("method", "IF 200", "IF 100")
    assert cells(overview, "ce") == {"method": "ce", "IF 200": "38.0 [39.9, -1.9]", "IF 100": "27.5 [26.5, +1.0]"}
    assert cells(overview, "dv")["IF 200"] == "-"
    assert len(rest) == 4 + 2
    assert rest[-2].title.startswith("CIFAR-10-LT, 30 epochs, sqrt sampler, IF 100")


def test_a_plot_takes_several_data_sets_and_factors_of_one_recipe(tmp_path):
    runs = [run(name, 0, 30.0, imbalance=factor) for name in ("ce", "dv") for factor in (50, 100)]
    runs.append(run("dv", 0, 30.0, dataset="cifar100"))
    assert draw(runs, tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="epochs takes 2 values"):
        draw([*runs, run("ce", 0, 30.0, epochs=30)], tmp_path / "mixed.png")


MEASURED = {"class_errors": [10.0, 50.0], "nll": 0.5, "ece": 4.0}


def test_calibration_and_worst_classes_have_a_table_where_lines_have_them():
    runs = [run("ce", 0, 30.0, **MEASURED), run("ce", 1, 30.0, **MEASURED | {"nll": 0.7}), run("focal", 0, 30.0)]
    *others, sheet = tables(runs)
    assert len(others) == 2 == len(tables(runs[2:]))
    found = cells(sheet, "ce")
    assert (found["worst class"], found["harmonic mean"]) == ("50.0", f"{2 / (1 / 90 + 1 / 50):.1f}")
    assert (found["calibration error"], found["NLL (nats)"]) == ("4.0", "0.600")
    assert [row[0] for row in sheet.rows] == ["ce"]


def test_ce_adjusted_after_training_has_rows_of_its_own():
    rows = [[0.0, 40.0, 30.0], [1.0, 20.0, 22.0], [2.0, 18.0, 24.0], [3.0, 18.0, 60.0]]
    runs = [run("ce", 0, 35.0, adjusted_errors=rows), run("dv", 0, 20.0, adjusted_errors=rows)]
    errors, paired = tables(runs)
    names = [row[0] for row in errors.rows]
    assert names == ["ce", "ce adjusted, tau 1", "ce adjusted, tau chosen", "dv"]
    assert [cells(errors, name)["last epoch"] for name in names] == ["35.0", "21.0", "22.0", "20.0"]
    assert cells(errors, names[2])["best epoch"] == cells(errors, names[2])["many"] == "-"
    assert cells(paired, names[2])["minus dv"] == "+2.0 (1 seed)"
    assert "on one half of the test images" in errors.markdown()
