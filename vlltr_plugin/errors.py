"""The errors that the command line shows without a traceback."""


class UserError(Exception):
    """Something that the user can put right; its text names what was expected, what came and what to do."""


class ReportError(UserError):
    """Unusable input; its text is one line that names the file, what was expected and what came."""
