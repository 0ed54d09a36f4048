"""The training side that is the same for every host: criterion, branches, draws, settings, hook, log line, messages."""
