"""The reader of the plan grammar: text in, checked parts out, every error with its column.

The grammar itself is told in `faultkit.plan`.  Space, tab and line ends may stand around every token, and one
``;`` may end a plan.  Numbers are ASCII digits and bounded before they are converted; spans are never
expanded.  Whatever the text, the only error raised is PlanError.  Not covered: building the values, which
`faultkit.plan` does from the parts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from typing import Any, NoReturn, TypeVar

import msgspec

from faultkit.exceptions import PlanError
from faultkit.messages import listed, nearest, seen
from faultkit.plan.action_places import require_actionable
from faultkit.plan.actions import Action, Argument, from_arguments, require_allowed
from faultkit.plan.file_filters import ANY, CHILD, THREADS, read_path, read_thread
from faultkit.plan.limits import require_count, require_length
from faultkit.plan.named_points import CALL
from faultkit.plan.points import MOMENTS, Point, find, require_filterable, require_moment
from faultkit.plan.spans import CALL_MAX, RANK_MAX, merged

__all__ = ["ROLES", "FaultParts", "read_action", "read_calls", "read_fault", "read_plan", "read_ranks"]

ROLES = ("coordinator", "others", "first", "last")

_NUMBER_LENGTH_MAX = 64
_Part = TypeVar("_Part")
_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<word>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
      | (?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<string>"[^"\\]*(?:\\.[^"\\]*)*")
      | (?P<mark>[;:@\#=(),*-])
      | (?P<end>\Z)
      | (?P<other>.)
    )""",
    re.VERBOSE | re.DOTALL,
)


class FaultParts(msgspec.Struct, frozen=True):
    """The parts of one fault, each checked and canonical."""

    point: str
    moment: str
    ranks: str
    calls: str
    action: Action
    path: str = ANY
    thread: str = ANY


def read_plan(text: str, allow: Collection[str] = ()) -> list[FaultParts]:
    """The faults of a plan.  Raises PlanError."""
    return _Reader(text, "faultkit plan", allow).plan()


def read_fault(text: str, allow: Collection[str] = ()) -> FaultParts:
    """One fault.  Raises PlanError."""
    reader = _Reader(text, "fault", allow)
    return reader.alone(reader.fault())


def read_action(text: str, allow: Collection[str] = ()) -> Action:
    """One action.  Raises PlanError."""
    reader = _Reader(text, "action", allow)
    return reader.alone(reader.action())


def read_ranks(text: str) -> str:
    """Ranks in their canonical form: ``*``, a role, or spans sorted and merged.  Raises PlanError."""
    reader = _Reader(text, "ranks")
    return reader.alone(reader.ranks())


def read_calls(text: str) -> str:
    """Calls in their canonical form: ``2``, ``2-5`` or ``2-``.  Raises PlanError."""
    reader = _Reader(text, "calls")
    return reader.alone(reader.calls())


class _Reader:
    def __init__(self, text: str, subject: str, allow: Collection[str] = ()) -> None:
        require_length(len(text), subject)
        self.text = text
        self.subject = subject
        self.allow = allow
        self.position = 0
        self.advance()

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.position)
        assert match is not None and match.lastgroup is not None  # the last alternative takes anything
        self.kind = match.lastgroup
        self.token = match.group(match.lastgroup)
        self.start = match.start(match.lastgroup)
        self.position = match.end()

    def fail(self, reason: str, start: int | None = None) -> NoReturn:
        start = self.start if start is None else start
        line = self.text.count("\n", 0, start) + 1
        column = start - self.text.rfind("\n", 0, start)
        where = f"line {line}, column {column}" if line > 1 else f"column {column}"
        raise PlanError(f"{self.subject}, {where}: {reason}") from None

    def unexpected(self, rule: str, hint: str = "") -> NoReturn:
        if self.kind == "end":
            what = "the end of the text"
        elif self.token == '"':
            what = "a string that is not closed"
        else:
            what = seen(self.token)
        self.fail(f"expected {rule}, saw {what}{hint}")

    def take(self, mark: str) -> bool:
        if self.kind == "mark" and self.token == mark:
            self.advance()
            return True
        return False

    def word(self, rule: str) -> tuple[str, int]:
        if self.kind != "word":
            self.unexpected(rule)
        found = self.token, self.start
        self.advance()
        return found

    def alone(self, value: _Part) -> _Part:
        if self.kind != "end":
            self.unexpected(f"the end of the {self.subject}")
        return value

    def plan(self) -> list[FaultParts]:
        faults: list[FaultParts] = []
        while self.kind != "end":
            faults.append(self.fault())
            self.checked(0, require_count, len(faults))
            if self.kind != "end" and not self.take(";"):
                self.unexpected("';' or the end of the plan after a fault")
        return faults

    def fault(self) -> FaultParts:
        point, start = self.word("a point, such as writer.write_data")
        if point.startswith(f"{CALL}.") and self.take(":"):
            name, _ = self.word("a function of the module after ':'")
            point = f"{point}:{name}"
        found = self.checked(start, find, point)
        path, thread = self.files(found)
        moment = MOMENTS[0]
        if self.take(":"):
            moment, start = self.word(f"a moment ({listed(MOMENTS)}) after ':'")
            self.checked(start, require_moment, found, moment)
        ranks = self.ranks() if self.take("@") else "*"
        calls = self.calls() if self.take("#") else "1-"
        if not self.take("="):
            files = "[(files)]" if found.takes_path else ""
            self.unexpected(f"'=' and an action (a fault is point{files}[:moment][@ranks][#calls]=action)")
        start = self.start
        action = self.action()
        self.checked(start, require_actionable, found, action, calls, moment, thread)
        return FaultParts(point, moment, ranks, calls, action, path, thread)

    def files(self, point: Point) -> tuple[str, str]:
        """The path and the thread that stand behind a point, each ``*`` where it does not."""
        path, thread, role = ANY, ANY, f"a thread ({' or '.join(THREADS)})"
        start = self.start
        if not self.take("("):
            return path, thread
        if not point.takes_path:
            if (self.kind, self.token) != ("word", CHILD):
                self.checked(start, require_filterable, point, "some", "")
            thread = self.thread(role)
            self.checked(start, require_filterable, point, ANY, thread)
        elif self.kind == "string":
            path = self.checked(self.start, read_path, self.string())
            if self.take(","):
                thread = self.thread(role)
        else:
            thread = self.thread(f'a path in double quotes, such as "*.distcp", or {role}')
        if not self.take(")"):
            self.unexpected(
                "')' after the files of a point (they are a path in double quotes, a thread, or both)"
            )
        return path, thread

    def thread(self, rule: str) -> str:
        word, start = self.word(rule)
        return self.checked(start, read_thread, word)

    def checked(self, start: int, check: Callable[..., _Part], *arguments: Any) -> _Part:
        """What `check` gives; its PlanError is told with the place `start`."""
        try:
            return check(*arguments)
        except PlanError as error:
            self.fail(str(error), start)

    def string(self) -> str:
        token, start = self.token, self.start
        self.advance()
        try:
            return str(json.loads(token))
        except ValueError as error:
            reason = getattr(error, "msg", "not JSON")
            self.fail(f"a string must be written as in JSON (got {seen(token)}: {reason})", start)

    def ranks(self) -> str:
        if self.take("*"):
            return "*"
        if self.kind == "word":
            role, start = self.word("a role")
            if role not in ROLES:
                hint = nearest(role, ROLES)
                self.fail(f"unknown role {seen(role)}; roles are {listed(ROLES)}{hint}", start)
            return role
        spans = [self.span("a rank", 0, RANK_MAX)]
        while self.take(","):
            spans.append(self.span("a rank", 0, RANK_MAX))
        return merged(spans)

    def calls(self) -> str:
        if self.take("*"):
            return "1-"
        start = self.start
        low = self.integer("a call", 1, CALL_MAX)
        if not self.take("-"):
            return str(low)
        if self.kind != "number":
            return f"{low}-"
        return merged([self.ascending(low, self.integer("a call", 1, CALL_MAX), start)])

    def span(self, what: str, minimum: int, maximum: int) -> tuple[int, int]:
        start = self.start
        low = self.integer(what, minimum, maximum)
        high = self.integer(what, minimum, maximum) if self.take("-") else low
        return self.ascending(low, high, start)

    def ascending(self, low: int, high: int, start: int) -> tuple[int, int]:
        if high < low:
            self.fail(f"a span must ascend (got {low}-{high}); did you mean '{high}-{low}'?", start)
        return low, high

    def integer(self, what: str, minimum: int, maximum: int) -> int:
        roles = f", '*' or one of {listed(ROLES)}" if what == "a rank" else ""
        if self.kind != "number":
            self.unexpected(f"{what} (an integer from {minimum} to {maximum}){roles}")
        digits = self.token.lstrip("0") or "0"
        if not digits.isdigit() or len(digits) > len(str(maximum)) or not minimum <= int(digits) <= maximum:
            self.fail(f"{what} must be an integer from {minimum} to {maximum} (got {seen(self.token)})")
        self.advance()
        return int(digits)

    def action(self) -> Action:
        name, start = self.word("an action, such as raise(ValueError)")
        arguments: list[Argument] = []
        starts: list[int] = []
        if self.take("(") and not self.take(")"):
            while True:
                starts.append(self.start)
                arguments.append(self.argument())
                if self.take(")"):
                    break
                if not self.take(","):
                    self.unexpected("',' or ')' after an argument (text stands in double quotes)")
        try:
            action = from_arguments(name, arguments)
            require_allowed(action, self.allow)
        except PlanError as error:
            self.fail(str(error), start if error.part is None else starts[error.part])
        return action

    def argument(self) -> Argument:
        minus = self.take("-")
        kind, token = self.kind, self.token
        if kind == "number":
            self.advance()
            return Argument("number", _number(token, minus), "-" * minus + token)
        if minus or kind not in ("word", "string"):
            self.unexpected('an argument (a word, a number or "text")')
        if kind == "string":
            return Argument("string", self.string(), token)
        self.advance()
        if self.take(":"):
            token = f"{token}:{self.word('a name after the module and :')[0]}"
        return Argument("word", token, token)


def _number(token: str, minus: bool) -> int | float:
    sign = -1 if minus else 1
    if len(token) > _NUMBER_LENGTH_MAX:
        return sign * float("inf")
    return sign * (int(token) if token.isdigit() else float(token))
