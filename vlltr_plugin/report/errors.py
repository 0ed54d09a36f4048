"""What a user can put right in the files given to a report."""

from vlltr_plugin.errors import UserError


class ReportError(UserError):
    """Unusable input; its text is one line that names the file, what was expected and what came."""
