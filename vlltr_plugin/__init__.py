"""Class-volume re-weighting (Zheng and Ng) for hosts such as VL-LTR, LIFT and timm, and any PyTorch loop.

The public names stand in `vlltr_plugin.public`, which is imported when one is first used: so `vlltr-plugin --help`
needs no torch, and `vlltr_plugin.compat` can come before torchvision and timm.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlltr_plugin.public import *  # noqa: F403

__version__ = "0.1.0"

if not TYPE_CHECKING:

    def __getattr__(name):
        """A public name, or a module of the package (PEP 562)."""
        if name == "__all__" or not name.startswith("_"):
            if find_spec(f"{__name__}.{name}"):
                return import_module(f"{__name__}.{name}")
            public = vars(import_module(f"{__name__}.public"))
            if name == "__all__":
                return [public_name for public_name in public if not public_name.startswith("_")]
            if name in public:
                return globals().setdefault(name, public[name])
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__getattr__("__all__")})
