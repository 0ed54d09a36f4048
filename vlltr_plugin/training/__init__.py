"""Training code shared by all hosts: criterion, draws, settings, hook, recorder, messages."""
