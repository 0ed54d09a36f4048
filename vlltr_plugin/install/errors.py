"""The errors that installing, uninstalling and looking raise."""

from __future__ import annotations

from vlltr_plugin.errors import UserError


class InstallError(UserError):
    """Something the user has to settle first; nothing was written. The first line of its text says it all."""


class AnchorError(InstallError):
    """The places for the inserted lines are missing, ambiguous or unsuitable."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}; nothing was written\n{advice}")
        self.reason, self.advice = reason, advice
