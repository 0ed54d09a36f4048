"""An evaluation in memory, shown and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from vlltr_plugin.errors import ReportError
from vlltr_plugin.report.evaluate.files import write_evaluation
from vlltr_plugin.report.evaluate.predictions import Predictions
from vlltr_plugin.report.evaluate.tables import print_evaluation
from vlltr_plugin.report.tradeoff.curve import TradeOff

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """An evaluation, and what its files are written from.

    Attributes:
        evaluation: as documented in evaluation.py.
        labels: `[N]`.
        by_rule: the predictions of each rule.
        train_counts: training images of each class, `[C]`.
        names: the classes' names, if known.
        trade_off: the curve of the same predictions.
    """

    evaluation: dict[str, Any]
    labels: Ints
    by_rule: dict[str, Predictions]
    train_counts: Ints
    names: list[str] | None
    trade_off: TradeOff


def folder_for(wanted: Path | None, default: Path) -> Path:
    """The folder to write to, absolute: evaluating may change the current one.

    Raises:
        ReportError: it is a file.
    """
    folder = (wanted or default).absolute()
    if folder.exists() and not folder.is_dir():
        raise ReportError(f"Expected --out to name a folder but {folder} is a file.")
    return folder


def show_and_write(outcome: Outcome, folder: Path, console: Console) -> list[Path]:
    """Writes an evaluation's files, prints it and names them.

    Raises:
        OSError: a file cannot be written; the tables are printed all the same.
    """
    try:  # first: who reads the tables may stop reading
        files = write_evaluation(
            outcome.evaluation,
            outcome.labels,
            outcome.by_rule,
            outcome.train_counts,
            outcome.names,
            folder,
            outcome.trade_off,
        )
    finally:
        print_evaluation(outcome.evaluation, console)
    for path in files:
        console.print(f"wrote {escape(str(path))}", soft_wrap=True, highlight=False)
    return files
