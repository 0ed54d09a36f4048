"""The pictures of an evaluation: colours and title of the confusion, and of names that look like markup."""

import matplotlib.colors
import pytest
import torch
from two_outputs import CLASSES, COUNTS, OUTPUTS, Outputs, collect

from vlltr_plugin.core.shot_groups import UPSTREAM
from vlltr_plugin.report.evaluate.evaluation import evaluate_predictions
from vlltr_plugin.report.evaluate.pictures import draw_evaluation
from vlltr_plugin.report.pictures import COLOURS, styled
from vlltr_plugin.report.tradeoff.curve import curve_of

pytest.importorskip("torchmetrics")


def confusion(outputs: Outputs):
    collector, labels = collect(outputs), outputs[-1]
    evaluation = evaluate_predictions(collector.labels(), collector.predictions(), COUNTS)
    evaluation |= {"split": "test", "images": len(labels), "classes": CLASSES}
    with styled():
        figure = draw_evaluation(evaluation, curve_of(collector, COUNTS, "draws", UPSTREAM), "run")["confusion.png"]
        figure.canvas.draw()
    return figure


def test_names_have_their_groups_colour_and_classes_without_training_images_one_of_their_own():
    figure = confusion(OUTPUTS)
    ticks = {tick.get_text(): matplotlib.colors.to_hex(tick.get_color()) for tick in figure.axes[0].get_yticklabels()}
    assert ticks["class 0"] == COLOURS["many"].lower()
    assert ticks["class 7"] == COLOURS["few"].lower()
    assert COUNTS[8] == 0
    assert ticks["class 8"] not in {colour.lower() for colour in COLOURS.values()}
    marks = {mark.get_label(): mark.get_color() for mark in figure.legends[0].get_lines()}
    assert marks["no training images"] == ticks["class 8"]


def test_the_title_calls_classes_the_worst_only_where_others_were_tested():
    some = confusion(OUTPUTS).get_suptitle()  # class 5 has no images
    assert "All 8 classes with images" in some
    *branches, labels = OUTPUTS
    branches = [torch.cat([branch, branch[:1]]) for branch in branches]
    assert "All classes" in confusion((*branches, torch.cat([labels, torch.tensor([5])]))).get_suptitle()
