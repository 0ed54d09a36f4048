"""What newer versions of timm and Pillow moved or refuse."""

import importlib
import importlib.util
import sys
from typing import Any

from PIL import Image, ImageOps

__all__ = ["accept_zero_bit_posterize", "posterize_or_black", "supply_timm_registry"]


def supply_timm_registry() -> None:
    """Offer `timm.models.registry` where timm no longer has it.

    The host imports `register_model` from there; timm moved it to `timm.models` and warns that the old module
    will go: "ModuleNotFoundError: No module named 'timm.models.registry'".
    """
    if importlib.util.find_spec("timm") is None or importlib.util.find_spec("timm.models.registry") is not None:
        return
    sys.modules["timm.models.registry"] = importlib.import_module("timm.models")


def accept_zero_bit_posterize() -> None:
    """Let timm's RandAugment keep zero bits of a colour, as Pillow before 13 did: a black image.

    With the host's `rand-m9-mstd0.5-inc1` about one image in 650 asks for it, and Pillow 13 answers
    "ValueError: bits must be between or equal to 1 and 8". Only timm's own operation is wrapped, not Pillow's function.
    """
    if importlib.util.find_spec("timm") is None or _pillow_posterizes_to_zero_bits():
        return
    augment = importlib.import_module("timm.data.auto_augment")
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
    return importlib.import_module("timm.data.auto_augment").posterize(img, bits_to_keep, **kwargs)


def _pillow_posterizes_to_zero_bits() -> bool:
    try:
        ImageOps.posterize(Image.new("RGB", (1, 1)), 0)
    except ValueError:
        return False
    return True
