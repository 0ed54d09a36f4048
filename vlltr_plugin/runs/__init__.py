"""The files of a run, written and read in one place: arrays, checkpoints, log lines."""
