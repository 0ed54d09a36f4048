"""`python -m vlltr_plugin`, the same as the command `vlltr-plugin`."""

import sys

from vlltr_plugin.cli import main

if __name__ == "__main__":
    sys.exit(main())
