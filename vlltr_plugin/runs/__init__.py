"""What a run leaves behind, written and read in one place: arrays, checkpoints, log lines, whole files."""
