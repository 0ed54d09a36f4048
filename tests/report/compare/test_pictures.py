"""The pictures of a comparison: colours are groups, styles are runs, nothing global changes."""

import matplotlib
import matplotlib.colors
import pytest
from report_lines import SETTINGS, compared, log_line

from vlltr_plugin.report.compare import compare, find_reference, load
from vlltr_plugin.report.compare.pictures import draw_accuracy, draw_comparison, draw_groups, draw_times
from vlltr_plugin.report.evaluate.pictures import draw_curves
from vlltr_plugin.report.pictures import COLOURS, STYLE, new_figure, styled, whole_epochs


@pytest.fixture
def comparison(write_run):
    printed = "".join(f"Epoch: [{epoch}] Total time: 0:00:0{epoch + 1} (1.0 s / it)\n" for epoch in (0, 1))
    lines = [log_line(0, low=40.0), log_line(1, low=50.0), log_line(None, low=45.0)]
    runs = [write_run("base", None, SETTINGS), write_run("dv", lines, SETTINGS, f"Namespace(epochs=2)\n{printed}")]
    return compare([load(str(run)) for run in runs], find_reference("imagenet_lt/r50"))


def drawn(draw, *arguments):
    with styled():
        figure = draw(*arguments)
        figure.canvas.draw()
        return figure


def hexes(colours):
    return {matplotlib.colors.to_hex(colour).upper() for colour in colours}


def curves(axes):
    return [line for line in axes.lines if len(line.get_xdata()) > 1]


def overlap(boxes):
    return any(one.overlaps(other) for number, one in enumerate(boxes) for other in boxes[:number])


def looks(lines):
    return [(matplotlib.colors.to_hex(line.get_color()), line.get_linestyle(), line._dash_pattern) for line in lines]


def test_each_panels_title_has_its_groups_colour_and_each_run_its_line_style(comparison):
    panels = drawn(draw_accuracy, comparison).axes
    for axes, name in zip(panels, ["overall", "many", "medium", "few"], strict=True):
        assert axes.title.get_color() == COLOURS[name]
        assert [line.get_linestyle() for line in curves(axes)] == ["-", "--"]
    assert curves(panels[3])[1].get_ydata().tolist() == [40.0, 50.0]


@pytest.mark.parametrize("seeds", [1, 2])
def test_no_two_of_many_runs_look_alike_in_lines_and_bars(write_run, seeds):
    names = [f"run {number}" for number in range(12)]
    runs = [f"{n}={','.join(str(write_run(f'{n}/{seed}')) for seed in range(seeds))}" for n in names]
    comparison = compare([load(run) for run in runs])
    figure = drawn(draw_accuracy, comparison)
    (legend,) = figure.legends
    for axes in figure.axes:
        assert len(set(map(str, looks(curves(axes))))) == len(names)
        assert looks(legend.get_lines()) == looks(curves(axes))
    bars = drawn(draw_groups, comparison).legends[0].get_patches()
    assert len({(bar.get_hatch(), bar.get_facecolor()) for bar in bars}) == len(names)


@pytest.mark.parametrize("draw", [draw_accuracy, draw_groups])
@pytest.mark.parametrize("length", [3, 45])
def test_a_legend_of_long_names_lies_inside_the_picture_and_leaves_the_panels_their_height(write_run, draw, length):
    def figure(name):
        return drawn(
            draw,
            compared(*(f"{f'{number} '.ljust(length, name)}={write_run(f'{name}{number}')}" for number in range(9))),
        )

    found = figure("n")
    box = found.legends[0].get_window_extent()
    assert 0 <= box.x0 <= box.x1 <= found.bbox.width
    assert found.axes[0].get_window_extent().height > 150


def test_one_epoch_has_one_tick():
    with styled():
        figure = new_figure()
        axes = figure.subplots()
        axes.plot([0], [50.0], "o")
        whole_epochs(axes)
        figure.canvas.draw()
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [0]


def test_a_group_at_0_in_every_line_is_not_said_to_have_no_images(write_run):
    lines = [log_line(0, low=0.0), log_line(1, low=0.0), log_line(None, low=0.0)]
    figure = drawn(draw_accuracy, compared(write_run("a", lines), write_run("b", lines)))
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["0.0 in every line of the logs"]


def test_a_line_ends_where_a_seed_ends_and_its_band_has_no_epoch_without_interval(write_run):
    short, long = ([log_line(epoch, acc1=50.0 + n) for epoch in range(n)] for n in (2, 4))
    panel = drawn(
        draw_accuracy, compared(f"m={write_run('a', short)},{write_run('b', long)}", write_run("c", long))
    ).axes[0]
    assert [line.get_xdata().tolist() for line in curves(panel)] == [[0, 1], [0, 1, 2, 3]]
    (band,) = panel.collections
    assert set(band.get_paths()[0].vertices[:, 0]) == {0, 1}


def test_a_single_run_has_a_marker_at_its_best_epoch(write_run):
    lines = [log_line(epoch, acc1=value) for epoch, value in enumerate([50.0, 60.0, 55.0])]
    figure = drawn(draw_accuracy, compared(write_run("a", lines), f"b={write_run('b')},{write_run('c')}"))
    single, several = figure.axes[0].lines
    assert (single.get_marker(), single.get_markevery()) == ("o", [1])
    assert several.get_marker() == ""
    assert figure.legends[0].get_title().get_text().endswith("marker: best epoch")


def test_groups_missing_in_all_logs_get_no_bars(write_run):
    line = {key: value for key, value in log_line(0).items() if not key.endswith(("many", "median", "low"))}
    comparison = compared(*(write_run(name, [line, line | {"epoch": 1}]) for name in ("base", "dv")))
    (bars,) = drawn(draw_groups, comparison).axes
    assert [axes.get_title() for axes in drawn(draw_accuracy, comparison).axes] == ["overall top-1"]
    assert [label.get_text() for label in bars.get_xticklabels()] == ["overall top-1"]
    assert "group" not in bars.get_title()


def test_bars_have_the_values_and_the_differences_and_labels_do_not_overlap(comparison):
    figure = drawn(draw_groups, comparison)
    (axes,) = figure.axes
    few = axes.patches[8:12]  # many, medium, few, overall; four bars each
    base = log_line(None)["test_low"]
    assert [bar.get_height() for bar in few] == [base, 45.0, 47.8, 55.2]
    assert hexes(bar.get_edgecolor() for bar in few) == {COLOURS["few"].upper()}
    labels = [text.get_text() for text in axes.texts]
    assert labels[8:12] == [f"{base:.1f}", f"{45.0 - base:+.1f}", "47.8", "55.2"]
    assert len({(bar.get_hatch(), bar.get_facecolor()) for bar in few}) == 4
    assert not overlap([text.get_window_extent() for text in axes.texts])


def test_bars_are_drawn_beside_a_baseline_that_diverged(write_run):
    bad = dict.fromkeys(("acc1", "many", "median", "low"), float("nan"))
    runs = [write_run("base", [log_line(0), log_line(1, **bad)]), write_run("dv", [log_line(0), log_line(1)])]
    (axes,) = drawn(draw_groups, compared(*runs)).axes
    assert axes.get_ylim()[1] > max(log_line(1)[f"test_{key}"] for key in bad)


def test_intervals_end_at_0_and_100_percent_below_their_label(write_run):
    for name in ("a0", "a1", "b0", "b1"):
        seed = int(name[1])
        folder = write_run(name, [log_line(0, low=5.0 + 60 * seed, many=99.0 - 20 * seed)]).parent
    (axes,) = drawn(draw_groups, compared(*(f"{n}={folder}/{n}0,{folder}/{n}1" for n in "ab"))).axes
    ends = [(low, high) for bars in axes.collections for (_, low), (_, high) in bars.get_segments()]
    assert (0.0, 100.0) in ends
    assert all(0.0 <= low <= high <= 100.0 for low, high in ends)
    assert max(text.xy[1] for text in axes.texts) == 100.0


def test_time_picture_has_the_passes(comparison):
    (axes,) = drawn(draw_times, comparison).axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1.0, 2.0]]


def test_files_are_written_and_no_global_setting_changes(comparison, tmp_path):
    before, backend = dict(matplotlib.rcParams), matplotlib.get_backend()
    paths = draw_comparison(comparison, tmp_path / "out")
    assert dict(matplotlib.rcParams) == before
    assert matplotlib.get_backend() == backend
    assert [path.name for path in paths] == ["groups.png", "accuracy.png", "time.png"]
    assert all(path.exists() for path in paths)
    assert before["axes.spines.top"] != STYLE["axes.spines.top"]


def test_a_dollar_in_a_name_is_a_dollar(write_run, tmp_path):
    paths = draw_comparison(compared(*map(write_run, ("lr$5_vs_$6^", "cost$\\frac{"))), tmp_path / "out")
    assert [path.name for path in paths] == ["groups.png", "accuracy.png"]


@pytest.mark.parametrize("apart", [0.0, 0.2, 3.0])
def test_taus_in_a_trade_off_picture_lie_on_no_other_tau_and_on_no_mark(apart):
    taus = [0.25 * step for step in range(9)]
    shown = [
        (name, [(tau, 80 - 4 * tau**2 + shift, 50 + 10 * tau + shift) for tau in taus])
        for name, shift in (("a", 0.0), ("b", apart), ("c", 2 * apart))
    ]
    figure = drawn(draw_curves, shown, "test")
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert {text.get_text() for text in axes.texts} >= {"0", "2"}
    assert not overlap(boxes)
    places = axes.transData.transform([step[1:] for _, steps in shown for step in steps])
    assert not any(box.contains(*place) for box in boxes for place in places)


def test_taus_lie_inside_the_axes_also_where_several_share_the_leftmost_place():
    """As with few test images: tau -1, 0 and 1 have the same numbers."""
    steps = [(-1.0, 40.0, 60.0), (0.0, 40.0, 60.0), (1.0, 40.0, 60.0), (2.0, 90.0, 50.0)]
    (axes,) = drawn(draw_curves, [("a", steps), ("b", [(0.0, 70.0, 55.0), (2.0, 40.5, 59.0)])], "test").axes
    assert "-1, 0, 1" in {text.get_text() for text in axes.texts}
    for text in axes.texts:
        assert axes.bbox.count_contains(text.get_window_extent().corners()) == 4
