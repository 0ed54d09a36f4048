"""The error that the command line shows without a traceback."""


class UserError(Exception):
    """Something that the user can put right; its text names what was expected, what came and what to do."""
