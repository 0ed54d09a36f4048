"""The weights and radii of a run: `inspect_run` computes the numbers, `run_inspect` prints and draws them."""

from vlltr_plugin.report.inspect.inspection import Inspection, inspect_run
from vlltr_plugin.report.inspect.pictures import write_pictures
from vlltr_plugin.report.inspect.tables import findings, run_inspect

__all__ = ["Inspection", "findings", "inspect_run", "run_inspect", "write_pictures"]
