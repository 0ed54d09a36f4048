"""`vlltr-plugin check` finds problems of a run before it starts; writes nothing and reports one line per check."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vlltr_plugin.errors import ReportError

OK, FAIL, SKIP = "ok", "FAIL", "skip"


class SkipError(Exception):
    """Raised by a check that has nothing to check; its message says why."""


@dataclass(frozen=True)
class CheckResult:
    """One line: the check, its status `"ok"`, `"FAIL"` or `"skip"`, and the result (with FAIL also what to do)."""

    check: str
    status: str
    message: str

    def __str__(self) -> str:
        return f"{self.status:<4}  {self.check:<10}  {self.message}"


class Checks:
    """Runs checks in order and skips those that depend on a failed one; calls `say` with each result."""

    def __init__(self, say: Callable[[CheckResult], None] = lambda result: None) -> None:
        self.lines: list[CheckResult] = []
        self._say = say
        self._failed: set[str] = set()

    @property
    def fine(self) -> bool:
        """True if nothing failed."""
        return all(result.status != FAIL for result in self.lines)

    def run(self, name: str, check: Callable[[], str], needs: Iterable[str] = ()) -> None:
        """Runs a check. It returns a message, raises `SkipError`, or raises an error that says what is wrong."""
        if missing := [other for other in needs if other in self._failed]:
            self._failed.add(name)
            return self.add(CheckResult(name, SKIP, f"not checked: it needs {missing[0]}"))
        try:
            result = CheckResult(name, OK, check())
        except SkipError as reason:
            result = CheckResult(name, SKIP, str(reason))
        except (ReportError, ValueError, TypeError, OSError) as error:
            self._failed.add(name)
            result = CheckResult(name, FAIL, " ".join(str(error).split()))
        self.add(result)

    def add(self, result: CheckResult) -> None:
        """Adds a result."""
        self.lines.append(result)
        self._say(result)
