"""What newer versions of timm and Pillow moved or refuse."""

import importlib
import importlib.util
import sys
from typing import Any

from PIL import Image, ImageOps

from vlltr_plugin.compat.presence import is_there

__all__ = ["accept_zero_bit_posterize", "posterize_or_black", "supply_timm_registry"]

_AUGMENT = "timm.data.auto_augment"


def supply_timm_registry() -> None:
    """Offer `timm.models.registry` where timm no longer has it.

    The host imports `register_model` from there; timm moved it to `timm.models` and warns that the old module
    will go: "ModuleNotFoundError: No module named 'timm.models.registry'".
    """
    try:
        names = "timm", "timm.models", "timm.models.registry"
        found = [importlib.util.find_spec(name) is not None for name in names]
    except Exception:  # timm does not import: the host's own import of it says why
        return
    if found == [True, True, False]:
        sys.modules["timm.models.registry"] = importlib.import_module("timm.models")


def accept_zero_bit_posterize() -> None:
    """Lets timm's RandAugment keep zero bits of a colour, as Pillow before 13 did: a black image.

    With the host's `rand-m9-mstd0.5-inc1` about one image in 650 asks for it, and Pillow 13 answers
    "ValueError: bits must be between or equal to 1 and 8". Only timm's own operation is wrapped, not Pillow's function.
    """
    if _pillow_posterizes_to_zero_bits() or not is_there(_AUGMENT) or _AUGMENT not in sys.modules:
        return
    augment = sys.modules[_AUGMENT]
    for name, operation in augment.NAME_TO_OP.items():
        if operation is augment.posterize:
            augment.NAME_TO_OP[name] = posterize_or_black


def posterize_or_black(img: Image.Image, bits_to_keep: int, **kwargs: Any) -> Any:
    """Posterize as timm does, and to a black image for zero bits.

    Args:
        img: The image.
        bits_to_keep: Bits per colour, 0 to 8.
        **kwargs: For timm's operation.

    Returns:
        The posterized image.
    """
    # A function of the module, so that data loaders which spawn their workers can pickle transforms that hold it.
    if bits_to_keep < 1:
        return Image.new(img.mode, img.size)
    return importlib.import_module(_AUGMENT).posterize(img, bits_to_keep, **kwargs)


def _pillow_posterizes_to_zero_bits() -> bool:
    try:
        ImageOps.posterize(Image.new("RGB", (1, 1)), 0)
    except ValueError:
        return False
    return True
