"""Names that some versions of numpy lack."""

import warnings

import numpy as np

__all__ = ["supply_numpy_bool"]


def supply_numpy_bool() -> None:
    """Gives numpy 1.24 to 1.26 the name `np.bool`, as numpy 2 has it.

    The host's mixup in modes "elem" and "pair" fails there with
    "AttributeError: module 'numpy' has no attribute 'bool'".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy < 1.24 warns when asked for the name
        present = hasattr(np, "bool")
    if not present:
        vars(np)["bool"] = np.bool_
