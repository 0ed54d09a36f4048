"""Puts the plug-in's few lines and its configs into a host's checkout, and takes them out again without a trace."""

from vlltr_plugin.errors import AnchorError, InstallError
from vlltr_plugin.install.checkout import Report, install, uninstall
from vlltr_plugin.install.choose import open_checkout
from vlltr_plugin.install.status import State, Status, status

__all__ = [
    "AnchorError",
    "InstallError",
    "Report",
    "State",
    "Status",
    "install",
    "open_checkout",
    "status",
    "uninstall",
]
