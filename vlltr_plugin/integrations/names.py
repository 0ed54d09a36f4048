"""The name that tells one of several callbacks of a trainer from the others."""

from vlltr_plugin.core.epoch_statistics import LOGGED


def log_prefix(name: object) -> str:
    """What the epoch's numbers of a callback begin with in the trainer's log.

    Args:
        name: the callback's; empty where a trainer has one.

    Raises:
        ValueError: for what can stand in no file's name or log key.
    """
    if not isinstance(name, str) or (name and not name.isidentifier()):
        raise ValueError(f"Expected name to be a word (letters, digits, _) but got {name!r}.")
    return f"{LOGGED}{name}_" if name else LOGGED
