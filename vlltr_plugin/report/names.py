"""Names of files and folders that are no text, as text."""


def readable(name: str) -> str:
    r"""A name as any file and picture can hold it: bytes that are no UTF-8 as `\udcff`, as the terminal shows them.

    Args:
        name: of a file or folder; the system may take any bytes for one.
    """
    return name.encode("utf-8", "backslashreplace").decode()
