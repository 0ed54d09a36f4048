"""Evaluates predictions consistently; the code that needs the host is in `vlltr_plugin.hosts`."""
