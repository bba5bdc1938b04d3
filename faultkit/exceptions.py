"""Every exception that faultkit raises at its callers, with one base: `FaultkitError`.

    FaultkitError
      PlanError           a plan, fault or action cannot be carried out           ValueError
        NotSimulatedError the function does what simulated ranks cannot
      ArgumentError       an argument is one that cannot be meant                ValueError
      ScenarioError       a scenario is not known, or does not go through         ValueError
      ScheduleError       a schedule is one of another run                        ValueError
      ImportMistake       ``module:attribute`` names nothing that can be had      ValueError
      JournalError        a journal of a sweep is none, or of another sweep       ValueError
      KnownError          a file of known violations, or of findings, is none     ValueError
      TransportError      a function or an argument cannot travel to ranks        TypeError
      RecordingError      nothing was recorded, or nothing that can be trusted    RuntimeError
        UnseenWriter      something changed files past the recorder
      HarnessError        faultkit itself failed: no verdict follows              RuntimeError
      TorchVersionError   the installed torch is none that faultkit works with    RuntimeError
      ResumeFailed        the command that resumes ended with another status      RuntimeError
      LostWork            the command went on from an older step                  RuntimeError
      WrongContent        a load came back with something else than was saved     AssertionError

Guarantees: each is also the built-in exception that stands beside it, so that ``except ValueError`` goes on to work;
each message is one line that says the subject, the rule, what was seen and what is nearest.  Not covered: a broken
promise, which is an AssertionError of `Run.raise_for_violations`; and what code under test raises, which is an outcome.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "ArgumentError",
    "FaultkitError",
    "HarnessError",
    "ImportMistake",
    "JournalError",
    "KnownError",
    "LostWork",
    "NotSimulatedError",
    "PlanError",
    "RecordingError",
    "ResumeFailed",
    "ScenarioError",
    "ScheduleError",
    "TorchVersionError",
    "TransportError",
    "UnseenWriter",
    "WrongContent",
]


class FaultkitError(Exception):
    """The base of all that faultkit raises at its callers."""


class PlanError(FaultkitError, ValueError):
    """Raised when a plan, fault or action is not one that can be carried out: one line that says why.

    `part` is the number of the argument at fault (from 0) where the message is about one argument of an
    action, else None; the parser uses it to tell the column.
    """

    def __init__(self, message: str, part: int | None = None) -> None:
        super().__init__(message)
        self.part = part


class NotSimulatedError(PlanError):
    """The function under test does what simulated ranks cannot; the message says what, and which kind can."""


class JournalError(FaultkitError, ValueError):
    """Raised for a journal of a sweep that is none, or of another sweep: one line with the difference."""


class ArgumentError(FaultkitError, ValueError):
    """Raised where an argument is one that cannot be meant: one line that says why.

    `subject` is what was called, such as ``World``, and `reason` the rest, for who has another name for the argument.
    """

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(subject, reason)
        self.subject = subject
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


class ScenarioError(FaultkitError, ValueError):
    """Raised where a scenario is not known, not usable, or does not go through with nothing broken.

    `story` tells the run that went wrong, where there was one; `is_flaky` is for what went through in other runs.
    """

    def __init__(self, message: str, story: str = "", *, is_flaky: bool = False) -> None:
        super().__init__(message)
        self.story = story
        self.is_flaky = is_flaky


class ScheduleError(FaultkitError, ValueError):
    """A schedule is not one of the run that it was given for; `run` is what the run came to without it."""

    def __init__(self, message: str, run: Any = None) -> None:
        super().__init__(message)
        self.run = run


class ImportMistake(FaultkitError, ValueError):
    """Raised where ``module:attribute`` names nothing that can be had: one line that says why."""


class KnownError(FaultkitError, ValueError):
    """Raised for a file of known violations, or of findings to compare, that is none: one line that says why."""


class TransportError(FaultkitError, TypeError):
    """A function or an argument cannot travel to the ranks."""


class RecordingError(FaultkitError, RuntimeError):
    """Nothing was recorded, or what was recorded cannot be trusted; the message says what was looked for."""


class UnseenWriter(RecordingError):
    """Something changed files where the recorder does not see it, or changed none: another recorder may see more."""


class HarnessError(FaultkitError, RuntimeError):
    """faultkit itself failed: no verdict follows from this run."""


class TorchVersionError(FaultkitError, RuntimeError):
    """The installed torch is none that faultkit works with."""


class ResumeFailed(FaultkitError, RuntimeError):
    """The command that resumes ended with another status than 0."""


class LostWork(FaultkitError, RuntimeError):
    """The command started from an older step than the newest complete checkpoint."""


class WrongContent(FaultkitError, AssertionError):
    """Raised by a scenario where a load came back without an error, with something else than was saved.

    The check ``durable`` knows it: the verdict is SILENT_WRONG.
    """
