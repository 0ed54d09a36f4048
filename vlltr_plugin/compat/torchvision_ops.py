"""A torchvision whose compiled operators cannot be loaded."""

import importlib
import sys

import torch

__all__ = ["declare_missing_ops"]

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# A torch Library takes its declarations back when it is collected, so it must outlive the process's imports.
_kept_alive: list[torch.library.Library] = []


def declare_missing_ops() -> None:
    """Makes `import torchvision` work where its compiled operators do not load.

    With torch for the CPU and a torchvision wheel for CUDA (or the other way round) the import ends in
    "RuntimeError: operator torchvision::nms does not exist". Declaring the schemas of the two operators that
    torchvision registers fakes for is enough; image classification calls neither, and a call still fails, saying
    so. Call this before importing timm, open_clip or torchvision.

    Raises:
        RuntimeError: torchvision cannot be imported for another reason.
    """
    try:
        importlib.import_module("torchvision")
        return
    except ModuleNotFoundError:
        return  # not installed: for whoever needs it to say
    except RuntimeError as error:
        if not any(f"torchvision::{name}" in str(error) for name in _SCHEMAS):
            raise
    _forget_half_imported_torchvision()
    library = torch.library.Library("torchvision", "FRAGMENT")
    _kept_alive.append(library)
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    importlib.import_module("torchvision")


def _forget_half_imported_torchvision() -> None:
    for name in list(sys.modules):
        if name == "torchvision" or name.startswith("torchvision."):
            del sys.modules[name]
