"""A demonstration that needs no download, no GPU and no checkout; its stand-in checkout also serves the tests."""

from .run import run_demo
from .standin_checkout import BASELINE, CLASS_VOLUME, make_standin, read_log, run_main

__all__ = ["BASELINE", "CLASS_VOLUME", "make_standin", "read_log", "run_demo", "run_main"]
