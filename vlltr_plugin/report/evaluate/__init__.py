"""One consistent evaluation of predictions; the part that needs the host is `vlltr_plugin.host`."""
