"""Runs a real host as tests/real_host/launch.py does, with the kill switch armed from the environment."""

import json
import os
import runpy
import sys
from pathlib import Path

import kill_switch

LAUNCH = Path(__file__).resolve().parents[1] / "real_host" / "launch.py"

if __name__ == "__main__":
    import vlltr_plugin.compat  # noqa: F401  (before torchvision, timm and the host)

    kill_switch.arm(**json.loads(os.environ["KILL"]))
    sys.argv[0] = str(LAUNCH)
    runpy.run_path(str(LAUNCH), run_name="__main__")
