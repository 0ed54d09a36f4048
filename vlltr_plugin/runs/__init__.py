"""Writes and reads the files of a run: arrays, checkpoints, log lines."""
