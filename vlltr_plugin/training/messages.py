"""Messages during a run. The host silences `print` on all ranks but the first, and hides all warnings."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from vlltr_plugin.core.ranks import is_first_rank


def info(message: str) -> None:
    """Prints one line, prefixed with the plug-in's name, on the first rank."""
    if is_first_rank():
        print(f"[vlltr-plugin] {message}")


@contextmanager
def print_warnings() -> Iterator[None]:
    """Context manager that prints the warnings raised inside it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        info(message)
