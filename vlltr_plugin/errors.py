"""The errors that the command line shows without a traceback."""


class UserError(Exception):
    """Something that the user can put right; its text names what was expected, what came and what to do."""


class ReportError(UserError):
    """Unusable input; its text is one line that names the file, what was expected and what came."""


class InstallError(UserError):
    """Something the user has to settle first; nothing was written. The first line of its text says it all."""


class AnchorError(InstallError):
    """The places for the inserted lines are missing, ambiguous or unsuitable."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}; nothing was written\n{advice}")
        self.reason, self.advice = reason, advice
