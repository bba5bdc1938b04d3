"""`Scenario`: what every rank does, in which directory, with which options, and what must be there afterwards.

A scenario's text is its name and the options that differ from their defaults, ``dcp-save,coordinator=1``:
one word in a shell, and all that a report has to remember of it.  Not covered: running it (`faultkit.scenarios.
stage`), finding it by name (`faultkit.scenarios.lookup`), and making those of a checkpointer
(`faultkit.scenarios.derived`).
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from faultkit.exceptions import ScenarioError
from faultkit.messages import listed
from faultkit.plan.signatures import taken
from faultkit.runs.selection import Chosen
from faultkit.scenario_text import chosen_from, text_of

__all__ = ["Scenario", "of_function"]

Option = str | int | float | bool

POINTS_OF_A_FUNCTION = ("writer.*", "reader.*")


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of real work under test.

    Args:
        name: as it is told in reports.
        function: called on every rank, with the keyword ``directory`` (a `pathlib.Path` to a directory that exists)
            where `takes_directory`, and with one keyword for each of `options`.  It must be importable by name on the
            ranks or picklable by cloudpickle.
        summary: one line for lists.
        prepare: called in the same way with those options that it takes, it fills the directory before the first run;
            every run then gets a copy of its own.
        options: pairs of name and default.
        chosen: the names of those that were set by `with_options`; they are told in reports.
        remake: makes the scenario with other options, where they are not only arguments of its functions.
        points: globs of the points that a sweep breaks unless it is told otherwise.
        preload: modules that ranks need, imported once for all of them.
        takes_directory: whether `function` takes the keyword ``directory``.
        reads_back: whether what is saved to the directory is read back after each run and compared.
        read: how to load it where the stock engine does not: a function of the directory that returns the state as a
            mapping (nested dicts, lists and tuples of tensors, arrays, numbers and strings), or None where there is
            nothing.  Where it takes the keyword `fill`, it first fills what it loads into with that number, so that
            what the load left out is seen.
        readers: pairs of a name and a function as `read`, another reader of the format: what it gives of what a run
            saved must be the same (the check ``same``); NotImplemented says that it cannot read that.  Only with a
            `read`.
        new: a function that returns the values expected of the finished work: what loads as something else is a
            violation.  None: what `read` gives of it, and whether that is right cannot be known.
        old: a function that returns the values of the prepared directory, or of an older checkpoint in it; None: what
            `read` gives of it.
        keeps: the finished work leaves what can be loaded as it was, which `new` says: nothing else may be seen at any
            time.
        absent: tells whether an exception of `read` is a clean "no checkpoint here"; None: the documented rule
            (`faultkit.crash.loading.missing_checkpoint`).
        refuse: says of the values of the finished work why nothing follows from them, None where something does.
        load_ranks: with more than 1, `read` runs on that many ranks with a process group; then nothing is pruned.  With
            0 it is as many as saved.
        prunable: False where `read` reads in other processes, or otherwise than through files that this process opens.
        needs_directory: whether the directory must exist before `function` is called; a sweep always makes it.
        root: the name of that directory, where it is recorded.
        stores_nothing: why no crash and no damage of this work can be explored, where that is so.
        unrecorded: why no crash can, though what is stored can be damaged.
        server: a context manager, called with no argument, that starts what the work needs beside it, and gives options
            that say where; a sweep starts it.
        launcher: who keeps the job (see `World`) where a sweep is not told.
        check: called with the keyword ``world_size`` and the options before anything runs; it returns what is wrong
            with them, or nothing.
        checks: the promises that count; all, where it is empty.
        no_check: others that do not.
        allow_residue: globs over what the check ``leaks`` tells and may stay.
        allow_unread: globs over the names of what a checkpoint holds and the work need not take back.
        allow_cast: globs over the names of what may come back as another dtype.
    """

    name: str
    function: Callable[..., Any]
    summary: str = ""
    prepare: Callable[..., Any] | None = None
    options: tuple[tuple[str, Option], ...] = ()
    chosen: tuple[tuple[str, Option], ...] = ()
    remake: Callable[..., Scenario] | None = None
    points: tuple[str, ...] = POINTS_OF_A_FUNCTION
    preload: tuple[str, ...] = ()
    takes_directory: bool = True
    reads_back: bool = True
    read: Callable[..., Any] | None = None
    readers: tuple[tuple[str, Callable[..., Any]], ...] = ()
    new: Callable[..., Any] | None = None
    old: Callable[..., Any] | None = None
    keeps: bool = False
    absent: Callable[[BaseException], bool] | None = None
    refuse: Callable[[Any], str | None] | None = None
    load_ranks: int = 1
    prunable: bool = True
    needs_directory: bool = True
    root: str = "checkpoint"
    stores_nothing: str = ""
    unrecorded: str = ""
    server: Callable[..., Any] | None = None
    launcher: str | None = None
    check: Callable[..., str] | None = None
    checks: tuple[Any, ...] = ()
    no_check: tuple[str, ...] = ()
    allow_residue: tuple[str, ...] = ()
    allow_unread: tuple[str, ...] = ()
    allow_cast: tuple[str, ...] = ()

    def __str__(self) -> str:
        return text_of(self.name, dict(self.chosen))

    @property
    def chosen_checks(self) -> Chosen:
        """Which checks count.  Raises ScenarioError for an unknown one."""
        try:
            return Chosen.of(
                self.checks, self.no_check, self.allow_residue, self.allow_unread, self.allow_cast
            )
        except ValueError as error:
            raise ScenarioError(f"scenario {self.name!r}: {error}") from None

    @property
    def keywords(self) -> dict[str, Option]:
        """The options as keyword arguments of `function` and `prepare`."""
        return {**dict(self.options), **dict(self.chosen)}

    @contextlib.contextmanager
    def served(self) -> Iterator[Scenario]:
        """The same with the options that its server gives, for as long as that runs; itself where it has none, or where
        somebody has chosen one of them already.
        """
        if self.server is None or self.keywords.get("server"):
            yield self
            return
        with self.server() as options:
            yield self.with_options(**options)

    def keywords_of(self, function: Callable[..., Any]) -> dict[str, Option]:
        """Those of the options that `function` takes."""
        return taken(function, self.keywords)

    def bound(self, function: Callable[..., Any], directory: Path) -> Callable[..., Any]:
        """`function`, one of the fields, as a call of nothing."""
        return functools.partial(function, directory=directory, **self.keywords_of(function))

    # What these were called when crashes had a scenario of their own.
    save = property(lambda self: self.function)
    load = property(lambda self: self.read)
    directory = property(lambda self: self.root)
    fresh = property(lambda self: self.is_fresh)

    @property
    def is_fresh(self) -> bool:
        """Whether there is nothing in the directory before."""
        return self.prepare is None

    def allowed(self, phase: str) -> tuple[str, ...]:
        """What may be loaded in a phase of the work, "before", "during" or "returned", as verdicts of a load."""
        if self.keeps or phase == "returned":
            return ("NEW",)
        return ("NEW", "ABSENT") if self.is_fresh else ("OLD", "NEW")

    def validate_for(self, world_size: int) -> None:
        """Raises ScenarioError where the options cannot be meant on a world of `world_size` ranks."""
        wrong = self.check(world_size=world_size, **self.keywords) if self.check is not None else ""
        if wrong:
            raise ScenarioError(f"scenario {str(self)!r}: {wrong}")

    def require_points(self, points: Iterable[str]) -> None:
        """Raises ScenarioError where one of these `points` is never come by in this work: requests need a server."""
        for point in points if self.server is None else ():
            if point.startswith("http."):
                raise ScenarioError(
                    f"scenario {str(self)!r} has no server whose requests '{point}' could be; "
                    "those of checkpointers that save to S3 have, such as 'dcp-s3.save'"
                )

    def with_options(self, **values: Option) -> Scenario:
        """The same work with other options.  Raises ScenarioError for an unknown one or a wrong type."""
        if self.remake is not None:
            return self.remake(**values)
        defaults = dict(self.options)
        chosen = {**dict(self.chosen), **chosen_from(self.name, defaults, values)}
        kept = tuple(
            (name, chosen[name]) for name in defaults if chosen.get(name, defaults[name]) != defaults[name]
        )
        return msgspec.structs.replace(self, chosen=kept)


def of_function(function: Callable[..., Any], name: str | None = None) -> Scenario:
    """The scenario that a plain function is: called with ``directory=``, or without if it takes none.

    Raises ScenarioError where the function needs other arguments.
    """
    name = name or str(getattr(function, "__qualname__", type(function).__name__))
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    needed = [
        p.name
        for p in parameters
        if p.name != "directory" and p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    takes = any(
        p.kind is p.VAR_KEYWORD or (p.name == "directory" and p.kind is not p.POSITIONAL_ONLY)
        for p in parameters
    )
    if needed:
        raise ScenarioError(
            f"scenario {name!r}: a function must take the keyword 'directory', or nothing "
            f"(got one that needs {listed(needed)})"
        )
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    module = getattr(function, "__module__", None)
    return Scenario(
        name=name,
        function=function,
        summary=summary,
        preload=(module,) if module and module != "__main__" else (),
        takes_directory=takes,
    )
