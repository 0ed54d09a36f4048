"""Error against imbalance, one curve for each method."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlltr_plugin.cifar_lt.results import DATA, SETTING, once_each
from vlltr_plugin.cifar_lt.tables import Runs, frame_of, grouped, methods_of
from vlltr_plugin.report.pictures import light_grid, new_figure, require_matplotlib, run_style, save, styled
from vlltr_plugin.runs.files import printable


def draw(runs: Runs, path: Path) -> Path:
    """Draws the last-epoch test error of every method against the imbalance factor, a panel for each data set.

    Raises ValueError for runs under different recipes, or on different images of one name.
    """
    require_matplotlib()
    runs = once_each(runs)
    advice = "keep them in files of their own."
    for key in SETTING:
        if (number := len({run[key] for run in runs})) > 1:
            raise ValueError(f"Expected runs under one recipe for a picture but {key} takes {number} values: {advice}")
    for part in grouped(runs, ("dataset", "imbalance")):
        if len({run.get(DATA) for run in part}) > 1:
            images = f"{part[0]['dataset']} at imbalance factor {part[0]['imbalance']}"
            raise ValueError(f"Expected runs on the same images for a picture but those of {images} differ: {advice}")
    datasets = sorted(grouped(runs, ("dataset",)), key=lambda part: str(part[0]["dataset"]))
    factors = sorted({run["imbalance"] for run in runs})
    names = methods_of(runs)
    with styled():
        figure = new_figure(2.0 + 5.0 * len(datasets), 4.8)
        panels = np.atleast_1d(figure.subplots(1, len(datasets)))
        for axes, part in zip(panels, datasets, strict=True):
            frames = {own[0]["imbalance"]: frame_of(own) for own in grouped(part, ("imbalance",))}
            for number, name in enumerate(names):
                errors = {factor: frames[factor].summary(name, "last", "error") for factor in sorted(frames)}
                beside = 1.12 ** (number / max(len(names) - 1, 1) - 0.5)  # shifts curves slightly apart
                found = {factor * beside: error for factor, error in errors.items() if error}
                if found:
                    means, halves = zip(*((error.mean, error.half or 0.0) for error in found.values()), strict=True)
                    axes.errorbar(list(found), means, yerr=halves, capsize=3, **run_style(number))
            axes.set_xscale("log")
            axes.set_xticks(factors, [str(factor) for factor in factors])
            axes.minorticks_off()
            axes.set_xlim(factors[0] / 1.3, factors[-1] * 1.3)
            axes.set_title(f"{printable(part[0]['dataset'])}, {runs[0]['epochs']} epochs")
            axes.set_xlabel("imbalance factor")
            light_grid(axes)
        panels[0].set_ylabel("test error after the last epoch, %\n(bars: 95 % interval over seeds)")
        handles = [panels[0].plot([], [], label=name, **run_style(number))[0] for number, name in enumerate(names)]
        figure.legend(handles=handles, loc="outside right upper")
        return save(figure, path)
