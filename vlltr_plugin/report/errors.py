"""What a user can put right in the files given to a report."""


class ReportError(Exception):
    """Unusable input; its text is one line that names the file, what was expected and what came."""
