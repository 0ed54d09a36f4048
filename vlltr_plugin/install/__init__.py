"""Inserts the plug-in's lines and configs into a host's checkout, and removes them completely."""

from vlltr_plugin.errors import AnchorError, InstallError
from vlltr_plugin.install.checkout import open_checkout, starting_scripts
from vlltr_plugin.install.operations import Report, State, Status, install, status, uninstall
from vlltr_plugin.install.recipe import MARKER, load_recipes

__all__ = [
    "MARKER",
    "AnchorError",
    "InstallError",
    "Report",
    "State",
    "Status",
    "install",
    "load_recipes",
    "open_checkout",
    "starting_scripts",
    "status",
    "uninstall",
]
