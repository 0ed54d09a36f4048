"""LIFT's words and files, for reports."""

from __future__ import annotations

from vlltr_plugin.hosts.host import Host
from vlltr_plugin.hosts.lift.log import find_log, read_run, wrote

LIFT = Host(
    name="lift",
    title="LIFT",
    wrote=wrote,
    find_log=find_log,
    read_run=read_run,
    many_from=101,
    few_to=19,
    epochs_on="test set",
    notes=(
        "LIFT's own result on the test set, after the last epoch. Many-shot classes have more than 100 training "
        "images, few-shot ones fewer than 20; a group's accuracy is the mean over its classes.",
        "Epochs count from 0 here, from 1 in LIFT's log. It has no validation split.",
    ),
    times="Times: LIFT's own `Time elapsed` (without the test) and its mean time of a batch, both as printed; "
    "re-weighting (reweight_seconds in its log) with its share of the training pass.",
    no_times="The logs tell no training times: LIFT prints them at the end, and with the batches (print_freq).",
    irrelevant=frozenset(("output_dir", "model_dir", "root", "print_freq", "seed", "gpu", "num_workers")),
)
