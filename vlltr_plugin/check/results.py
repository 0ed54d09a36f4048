"""The lines of a check: what was looked at, and what came of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vlltr_plugin.errors import ReportError

OK, FAIL, SKIP = "ok", "FAIL", "skip"


class SkipError(Exception):
    """Raised by a look that has nothing to look at; its text says why."""


@dataclass(frozen=True)
class CheckResult:
    """One line.

    Attributes:
        check: what was looked at.
        status: `"ok"`, `"FAIL"` or `"skip"`.
        message: what was found; with FAIL also what to do.
    """

    check: str
    status: str
    message: str

    def __str__(self) -> str:
        return f"{self.status:<4}  {self.check:<10}  {self.message}"


class Checks:
    """Looks one after the other; a look whose grounds have failed is skipped.

    Args:
        say: gets each line as it comes.
    """

    def __init__(self, say: Callable[[CheckResult], None] = lambda line: None) -> None:
        self.lines: list[CheckResult] = []
        self._say = say
        self._unknown: set[str] = set()

    @property
    def fine(self) -> bool:
        """Whether nothing failed."""
        return all(line.status != FAIL for line in self.lines)

    def failed(self, checks: Iterable[str]) -> list[str]:
        """Those of `checks` that failed, or were skipped because of another that did."""
        return [check for check in checks if check in self._unknown]

    def look(self, check: str, look: Callable[[], str], needs: Iterable[str] = ()) -> None:
        """Takes a look and notes what it says.

        Args:
            check: what is looked at.
            look: gives the message; raises ReportError, ValueError, TypeError or OSError where something is amiss,
                `SkipError` where there is nothing to look at.
            needs: checks without which it makes no sense.
        """
        missing = self.failed(needs)
        if missing:
            self._unknown.add(check)
            return self.take(CheckResult(check, SKIP, f"not looked at: {missing[0]} comes first"))
        try:
            line = CheckResult(check, OK, look())
        except SkipError as reason:
            line = CheckResult(check, SKIP, str(reason))
        except (ReportError, ValueError, TypeError, OSError) as error:
            self._unknown.add(check)
            line = CheckResult(check, FAIL, " ".join(str(error).split()))
        self.take(line)

    def look_elsewhere(self, check: str, look: Callable[[Callable[[dict[str, str]], None]], None]) -> None:
        """Takes the lines that are found in another process; an error there is one more.

        Args:
            check: names the line of such an error.
            look: calls what it gets with each line as a dict; raises ReportError.
        """
        try:
            look(lambda found: self.take(CheckResult(**found)))
        except ReportError as error:
            self.take(CheckResult(check, FAIL, " ".join(str(error).split())))

    def take(self, line: CheckResult) -> None:
        """Notes a line."""
        self.lines.append(line)
        self._say(line)
