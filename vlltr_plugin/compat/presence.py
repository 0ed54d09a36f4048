"""Whether a module that the host wants is there at all: only then does nothing stand in for it."""

import importlib

__all__ = ["is_there"]


def is_there(name: str) -> bool:
    """Whether Python finds a module, sound or broken.

    A broken one (a dependency is missing, or its code raises) counts as there: the host's own import of it then
    fails with the error that names the cause, which a stand-in would hide.

    Args:
        name: A module, with its packages: "clip.simple_tokenizer".

    Returns:
        False where the module or one of its packages does not exist.
    """
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        return not (error.name is not None and f"{name}.".startswith(f"{error.name}."))
    except Exception:  # whatever the module's code raises
        return True
    return True
