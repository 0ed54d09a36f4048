"""Names of files and folders that are no text, as text."""

from pathlib import Path


def run_name(folder: Path) -> str:
    """A run's folder with the one around it, for the title of a picture: many are called `0` or `test`."""
    parts = [part for part in folder.absolute().parts if part != "evaluation"]
    return readable("/".join(parts[-2:]))


def readable(name: str) -> str:
    r"""A name as any file and picture can hold it: bytes that are no UTF-8 as `\udcff`, as the terminal shows them."""
    return name.encode("utf-8", "backslashreplace").decode()
