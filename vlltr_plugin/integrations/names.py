"""The name that tells one of several callbacks of a trainer from the others."""


def check_callback_name(name: object) -> None:
    """Raises ValueError for what can stand in no file's name or log key."""
    if not isinstance(name, str) or (name and not name.isidentifier()):
        raise ValueError(f"Expected name to be a word (letters, digits, _) but got {name!r}.")
