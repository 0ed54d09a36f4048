"""One consistent evaluation of predictions; the part that needs the host is in `vlltr_plugin.hosts`."""
