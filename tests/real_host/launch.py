"""Runs the `main.py` of the current folder with small towers and a seeded `random`: for tests on the CPU.

    python launch.py --config configs/... --device cpu ...

The host's files stay as they are: only the numbers given to its `LGR` model differ.
"""

import os
import random
import runpy
import sys
from typing import Any

import vlltr_plugin.compat  # noqa: F401  (before torchvision, timm and the host)

EMBED_DIM = 64
RESNET = {"vision_layers": (1, 1, 1, 1), "vision_width": 8}
VIT = {"vision_layers": 2, "vision_width": 64}


def shrink_towers() -> None:
    """Make the host build small models, of both stages, for images of 32 pixels."""
    from models.finetune import LGR
    from models.pretrain import CVLP

    _build_with(LGR, {})
    _build_with(CVLP, {"transformer_layers": 1, "transformer_width": 64, "transformer_heads": 1})


def _build_with(model: Any, numbers: dict[str, Any]) -> None:
    build = model.__init__

    # `__init__` is wrapped, not the class replaced: the class's own `super(LGR, self)` looks it up by name.
    def build_small(self: Any, **kwargs: Any) -> None:
        tower = VIT if isinstance(kwargs["vision_layers"], int) else RESNET
        build(self, **{**kwargs, **tower, **numbers, "embed_dim": EMBED_DIM, "image_resolution": 32})

    model.__init__ = build_small


if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    sys.argv[0] = "main.py"
    random.seed(int(os.environ.get("RANK", "0")))
    shrink_towers()
    runpy.run_path("main.py", run_name="__main__")
