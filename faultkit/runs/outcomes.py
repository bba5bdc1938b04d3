"""What a run leaves behind: the outcome of each rank, and the events that each rank recorded.

These are frozen values without behaviour beyond reading them.  They hold text and numbers, so that a
rank's failure is told in full even where its exception cannot be pickled, or pickles and cannot be
unpickled; the live exception object is an extra that may be missing.  Judging is not done here: see
`faultkit.checks`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import msgspec

from faultkit.plan import Fault
from faultkit.runs.tracebacks import Frame, text_of

__all__ = [
    "Died",
    "ErrorRecord",
    "Event",
    "Fired",
    "Hung",
    "Outcome",
    "Raised",
    "Returned",
    "Untransportable",
]


SHOWN_CHARACTERS = 240


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One exception as text: everything a reader needs, nothing that has to be unpickled.

    `type_name` is the qualified name without the module (``"ValueError"``), `module` the module.
    `message` is ``str(exception)``, or a placeholder where ``__str__`` itself raises.  `frames` are those of
    the traceback.  `failures` maps rank in the group to that rank's error where the exception is a
    ``CheckpointException``; `step` is then the engine's name of the failing step, and `message` has a line for
    each failure, without the tracebacks that the engine puts into its own.  `members` holds the parts of an
    exception group.
    """

    type_name: str
    module: str = "builtins"
    message: str = ""
    errno: int | None = None
    notes: tuple[str, ...] = ()
    frames: tuple[Frame, ...] = ()
    cause: ErrorRecord | None = None
    context: ErrorRecord | None = None
    members: tuple[ErrorRecord, ...] = ()
    failures: dict[int, ErrorRecord] | None = None
    step: str | None = None

    @property
    def traceback_text(self) -> str:
        """What the interpreter would print for this exception, with its chain."""
        return text_of(self)

    def chain(self) -> tuple[ErrorRecord, ...]:
        """This error and everything it was raised from or during, nearest first, each once."""
        found: list[ErrorRecord] = []
        waiting: list[ErrorRecord | None] = [self]
        while waiting:
            error = waiting.pop(0)
            if error is None:
                continue
            found.append(error)
            waiting += [error.cause, error.context, *error.members]
        return tuple(found)


class Untransportable(msgspec.Struct, frozen=True):
    """Stands for a returned value that could not be pickled on the rank or unpickled here."""

    type_name: str
    description: str
    reason: str


class Outcome:
    """What became of one rank: `Returned`, `Raised`, `Died` or `Hung`.  Not to be instantiated.

    What a function returned or raised may be asked of any outcome.  Where there is no such thing, the answer is an
    AttributeError that says what became of the rank instead.
    """

    kind: str

    @property
    def value(self) -> Any:
        """What the function returned."""
        raise _absent(self, "value", "the function did not return")

    @property
    def exception(self) -> BaseException | None:
        """What the function raised, see `Raised`."""
        raise _absent(self, "exception", "the function raised nothing")

    @property
    def failures(self) -> dict[int, tuple[str, str]]:
        """``{rank: (type_name, message)}`` of a ``CheckpointException``, see `Raised`."""
        raise _absent(self, "failures", "the function raised nothing")

    @property
    def message(self) -> str:
        """The text of what the function raised, see `Raised`."""
        raise _absent(self, "message", "the function raised nothing")

    @property
    def type_name(self) -> str:
        """The name of the type of what the function raised, see `Raised`."""
        raise _absent(self, "type_name", "the function raised nothing")


def _absent(outcome: Outcome, name: str, why: str) -> AttributeError:
    told = " ".join(repr(outcome).split())
    shown = told if len(told) <= SHOWN_CHARACTERS else f"{told[:SHOWN_CHARACTERS]}..."
    return AttributeError(f"this rank has no {name}, since {why}: it is {shown}")


class Returned(Outcome, msgspec.Struct, frozen=True):
    """The function returned `value` (an `Untransportable` where the value could not travel)."""

    value: Any = None
    kind = "returned"


class Raised(Outcome, msgspec.Struct, frozen=True, dict=True):
    """The function raised.  `error` is the text of it, `revival` what makes the live exception of it."""

    error: ErrorRecord
    revival: Callable[[], BaseException | None] | None = None
    kind = "raised"

    @cached_property
    def exception(self) -> BaseException | None:
        """The exception itself, with a traceback; None if it cannot travel.  Unpickled when first asked for."""
        return self.revival() if self.revival is not None else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Raised) and self.error == other.error

    def __hash__(self) -> int:
        return hash((self.error.type_name, self.error.message))

    def __repr__(self) -> str:
        return f"Raised({self.type_name}: {self.message[:200]!r})"

    @property
    def type_name(self) -> str:
        return self.error.type_name

    @property
    def message(self) -> str:
        return self.error.message

    @property
    def notes(self) -> tuple[str, ...]:
        return self.error.notes

    @property
    def traceback_text(self) -> str:
        return self.error.traceback_text

    @property
    def failures(self) -> dict[int, tuple[str, str]]:
        """``{rank: (type_name, message)}`` of a ``CheckpointException``; empty for any other error."""
        return {rank: (e.type_name, e.message) for rank, e in (self.error.failures or {}).items()}


class Died(Outcome, msgspec.Struct, frozen=True):
    """The process ended.  `signal` is a name such as ``"SIGKILL"``, or None where it exited with `exitcode`.

    `stack` is what the dying interpreter wrote of its stack (a segmentation fault does), or empty.  `by` is
    ``"launcher"`` where the launcher ended the process because another rank had ended, and `waiting` then says for
    what it waited, if that is known; else both are empty.
    """

    signal: str | None = None
    exitcode: int | None = None
    stack: str = ""
    by: str = ""
    waiting: str = ""
    kind = "died"


class Hung(Outcome, msgspec.Struct, frozen=True):
    """The rank did not come back.  `stack` is its Python stack, `waiting` says for what it waits if known."""

    stack: str = ""
    waiting: str = ""
    kind = "hung"


class Event(msgspec.Struct, frozen=True):
    """Something that a rank recorded the moment it happened; it survives the rank's death.

    `seconds` counts from the start of the run on the machine's monotonic clock.  `kind` and `data`:

    ``fired``          fault (index in the plan), point, moment, call, step; of files also path, thread, and site,
                       the point with the files on which calls are counted, where that is more than the point;
                       of native code also native, opened ("r", "w" or "rw", as 1, 2 or 3) and child
    ``refused``        fault, point, path, why: native code came by a fault that it cannot be given; once for each
    ``called``         point, call, ok: a call of a planned point came back; only points of the plan; of files also
                       path and site, and beneath FileSystemBase only calls that make good for an injected error
    ``hooked``         point: the function of a point of layer torch, safetensors or call is watched from here on
    ``attempt_begin``  op ("save" or "load"), coordinator (rank in the group), attempt (1-based), and ranks, those of
                       its group in their order, where it is not of the whole world
    ``attempt_end``    op, attempt, ok, error (an ErrorRecord as a dict without tracebacks, when not ok)
    ``step_begin``     step ("plan", "write", "read", ...), op (the engine's collective step kind), number
    ``suspect``        error (an ErrorRecord as a dict): what an attempt raised, where it may be faultkit's own
    ``ended``          ok (false): the function raised on this rank
    ``step_end``       step, number, ok, failures (ranks reported, when the step reported a failure)
    ``waited``         seconds: for so long the rank had only waited when the function ended, where that is long
    ``expected``       error: the function said that it expects this error (`assertRaises`, `pytest.raises`)
    ``again``          number: from here on the function runs for the number-th time more, without a fault
    ``content``        attempt, path, leaves: what a save was given, where it is to be compared (see
                       `faultkit.injection.engine.content`); leaves is None where that cannot be told; of_rank is the
                       rank under which a save without collectives stores its part by itself, else None
    ``unfilled``       attempt, leaves: [name, elements that a load left unfilled, of how many, first index] each
    ``residue``        threads, descriptors, children, shared_memory, files: what is left, each a list of names
    ``residue_in_all`` the same of all runs of this process, where something is left and it is not its first run
    """

    rank: int
    seconds: float
    kind: str
    data: dict[str, Any]


class Fired(msgspec.Struct, frozen=True):
    """A fault whose action really happened: on `rank`, at its `call`-th call of the point (1-based).

    `step` names the engine's step it happened in (``"plan"``), None outside of any step.  At a point of files,
    `path` is the file, and `thread` is ``main`` or ``helper``.  `native` tells that native code, or a process that the
    rank forked (`child`), made the call: what it then raises on the rank, if anything, is its own.  `thread_name` is
    that of the thread in which a delay lasts, empty for other actions.
    """

    fault: Fault
    rank: int
    call: int
    seconds: float = 0.0
    step: str | None = None
    point: str = ""
    path: str = ""
    thread: str = ""
    native: bool = False
    child: bool = False
    thread_name: str = ""
