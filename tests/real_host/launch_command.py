"""Runs `vlltr-plugin` in the current folder, a checkout, whose models get the small towers of launch.py.

python launch_command.py evaluate checkpoints/small/checkpoint.pth --config configs/... --device cpu ...
"""

import os
import sys

from launch import shrink_towers

from vlltr_plugin.cli import main

if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    shrink_towers()
    sys.exit(main())
