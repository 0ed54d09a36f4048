"""Error against imbalance, one curve for each method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlltr_plugin.cifar_lt.methods import METHODS
from vlltr_plugin.cifar_lt.results import DATA, SETTING, interval, once_each, per_seed
from vlltr_plugin.report.labels import printable
from vlltr_plugin.report.pictures import light_grid, new_figure, require_matplotlib, save, styled

MARKERS = "osD^vP*X"
HIGHLIGHTED = {"ce": "#000000", "inverse-drw": "#E69F00", "en-drw": "#56B4E9", "dv": "#0072B2", "dv-mean": "#CC79A7"}
"""Okabe and Ito's palette for the methods that matter most; the others take matplotlib's own colours."""


def draw(runs: Sequence[dict[str, Any]], path: Path) -> Path:
    """Draws the last-epoch test error of every method against the imbalance factor, a panel for each data set.

    Raises ValueError for runs under different recipes, or on different images of one name.
    """
    require_matplotlib()
    runs = once_each(runs)
    for key in SETTING:
        values = {run[key] for run in runs}
        if len(values) > 1:
            raise ValueError(
                f"Expected runs under one recipe for a picture but {key} takes {len(values)} values: keep them in "
                "files of their own."
            )
    images = {(run["dataset"], run["imbalance"]): run.get(DATA) for run in runs}
    for run in runs:
        if images[run["dataset"], run["imbalance"]] != run.get(DATA):
            raise ValueError(
                f"Expected runs on the same images for a picture but those of {run['dataset']} at imbalance factor "
                f"{run['imbalance']} differ: keep them in files of their own."
            )
    datasets = sorted({run["dataset"] for run in runs})
    factors = sorted({run["imbalance"] for run in runs})
    names = [name for name in METHODS if any(run["method"] == name for run in runs)]
    with styled():
        figure = new_figure(1.5 + 5.0 * len(datasets), 4.8)
        panels = np.atleast_1d(figure.subplots(1, len(datasets)))
        for axes, dataset in zip(panels, datasets, strict=True):
            for number, name in enumerate(names):
                _curve(axes, [run for run in runs if run["dataset"] == dataset], name, number / max(len(names) - 1, 1))
            axes.set_xscale("log")
            axes.set_xticks(factors, [str(factor) for factor in factors])
            axes.minorticks_off()
            axes.set_xlim(factors[0] / 1.3, factors[-1] * 1.3)
            axes.set_title(f"{printable(dataset)}, {runs[0]['epochs']} epochs")
            axes.set_xlabel("imbalance factor")
            light_grid(axes)
        panels[0].set_ylabel("test error after the last epoch, %\n(bars: 95 % interval over the seeds)")
        handles = {
            label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(list(handles.values()), list(handles), loc="outside right upper")
        return save(figure, path)


def _curve(axes: Any, runs: Sequence[dict[str, Any]], name: str, place: float) -> None:
    """Means with 95 % intervals over the seeds; curves stand a little beside each other, `place` in 0..1."""
    points = []
    for factor in sorted({run["imbalance"] for run in runs if run["method"] == name}):
        errors = per_seed([run for run in runs if run["imbalance"] == factor], name)
        points.append((factor * 1.12 ** (place - 0.5), *interval(list(errors.values()))))
    if not points:
        return
    x, mean, width = np.array(points).T
    number = list(METHODS).index(name)
    colour = HIGHLIGHTED.get(name, f"C{number % 10}")
    axes.errorbar(
        x, mean, yerr=np.nan_to_num(width), label=name, color=colour, marker=MARKERS[number % len(MARKERS)], capsize=3
    )
