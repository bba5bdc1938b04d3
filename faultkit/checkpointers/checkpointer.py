"""`Checkpointer`: what is under test, as one value of functions.

    MINE = Checkpointer(
        name="mine",
        save=save,        # (state, directory, step) on every rank; may return a handle with .result(timeout=)
        load=load,        # (state, directory) on every rank, in place; returns the step, None: nothing there
        steps=steps,      # (directory) -> the steps that can be loaded; optional
        prune=prune,      # (directory, keep) on every rank; optional
    )

Guarantees: a frozen value; making one calls none of its functions and imports nothing.  A mistake is one
ScenarioError.  Not covered: what work is done with it (`faultkit.scenarios.derived`), and which are found by name
(`faultkit.checkpointers.catalogue`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from faultkit.exceptions import ScenarioError
from faultkit.messages import listed, nearest, seen
from faultkit.plan.signatures import taken
from faultkit.scenario_text import chosen_from, text_of

__all__ = ["WORK", "Checkpointer"]

Option = str | int | float | bool

WORK = ("save", "load", "overwrite", "resume", "prune", "async")
OPTIONAL = ("steps", "prune", "state", "read", "absent", "check", "server")
NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


class Checkpointer(msgspec.Struct, frozen=True, kw_only=True):
    """How state is saved, loaded, found again and pruned.

    Every function but `steps` and `read` is called on every rank, on all with the same arguments; each gets those of
    `options` that it takes, as keywords.  `directory` is a `pathlib.Path` that exists and is the checkpointer's alone;
    what lies in it is the checkpointer's affair.

    Args:
        name: as it is told in reports; letters, digits, "-" and "_".
        save: ``save(state, directory, step)`` writes the checkpoint of `step` (an int from 1 on).  It is acknowledged
            once this has returned on every rank, or, where it returns a handle, once ``handle.result(timeout=seconds)``
            has.  A step that is saved again replaces what was saved under it.
        load: ``load(state, directory)`` loads the newest checkpoint into `state`, in place or by replacing its leaves,
            and returns its step; None where there is none.  It raises where there is one that cannot be loaded.
        steps: ``steps(directory)`` gives the steps there are, of which `load` loads the newest; None where nobody can
            ask for them.
        prune: ``prune(directory, keep)`` removes old checkpoints and keeps the `keep` newest, 1 or more; None where
            there is no such thing.
        state: ``state(step, rank, world_size)`` gives the state to save, a nested dict, whose every element differs
            from one step to the next; also that which is loaded into (step 0).  None: faultkit's own
            (`faultkit.checkpointers.states`).
        read: ``read(directory)`` gives the newest checkpoint as a mapping, in one process without a process group, and
            None where there is none.  None: what `load` gives on a world of one rank.
        readers: pairs of a name and another reader of the format: ``reader(directory)`` gives what `read` gives, by a
            way of its own, in one process without a process group; of a file format that is all it has.  It gives None
            where there is no checkpoint, and NotImplemented where it cannot read what is stored by these options.  The
            first of them reads each save of every campaign that is read back; `faultkit.reshard` takes all.
        any_state: whether `save` and `load` take any state (nested dicts and lists of tensors and values), so that one
            can be drawn; None: where there is no `state`.
        summary: one line for lists.
        requires: distributions that must be installed, such as "safetensors>=0.4", or "torch>=2.14".
        extra: of faultkit, which installs them.
        points: globs of the points that a sweep of a save breaks unless it is told otherwise.
        load_points: the same of a load.
        preload: modules that ranks need, imported once for all of them.
        options: pairs of name and default.
        chosen: those that were set by `with_options`.
        check: called with the keyword ``world_size`` and the options before anything runs; it returns what is wrong
            with them, or nothing.
        is_async: whether `save` returns before the checkpoint is there, with a handle; then there is ``NAME.async``.
        reshards: whether what N ranks saved can be loaded by another number of them; where not, a load has as many
            ranks as the save.
        replaces: whether a step can be saved again; where that depends on options, a function of those that it takes.
        only: the words of `WORK` that mean something for it; empty: what the other fields allow.
        only_since: why the others mean nothing.
        atomic_load: whether a load that raises leaves `state` as it was, on every rank: then the check ``atomicity`` is
            held against it.
        absent: ``absent(error)`` tells whether what `load` raised says that there is no checkpoint here, for those that
            do not return None.
        server: a context manager, called with no argument, that starts what `save` needs beside it; what it gives, a
            mapping of options, is set for the time of a campaign.
        checks: the promises that count; all, where it is empty.
        no_check: others that do not.
        allow_residue: globs over what the check ``leaks`` tells and may stay.
        unpromised: names of promises (`faultkit.conformance.PROMISES`) that it does not make, such as ``"damage"``.
        allow_unread: globs over the names of what a checkpoint holds and a load need not take back.
        allow_cast: globs over the names of what may come back as another dtype.

    Raises:
        ScenarioError: a field is not what it should be.
    """

    name: str
    save: Callable[..., Any]
    load: Callable[..., Any]
    steps: Callable[..., Any] | None = None
    prune: Callable[..., Any] | None = None
    state: Callable[..., Any] | None = None
    read: Callable[..., Any] | None = None
    readers: tuple[tuple[str, Callable[..., Any]], ...] = ()
    any_state: bool | None = None
    summary: str = ""
    requires: tuple[str, ...] = ()
    extra: str = ""
    points: tuple[str, ...] = ("writer.*", "fs.*")
    load_points: tuple[str, ...] = ("reader.*", "fs.*")
    preload: tuple[str, ...] = ()
    options: tuple[tuple[str, Option], ...] = ()
    chosen: tuple[tuple[str, Option], ...] = ()
    check: Callable[..., str] | None = None
    is_async: bool = False
    reshards: bool = True
    replaces: bool | Callable[..., bool] = True
    only: tuple[str, ...] = ()
    only_since: str = ""
    atomic_load: bool = False
    absent: Callable[[BaseException], bool] | None = None
    server: Callable[..., Any] | None = None
    checks: tuple[Any, ...] = ()
    no_check: tuple[str, ...] = ()
    allow_residue: tuple[str, ...] = ()
    unpromised: tuple[str, ...] = ()
    allow_unread: tuple[str, ...] = ()
    allow_cast: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or set(self.name) - set(NAME):
            raise ScenarioError(
                f"checkpointer: name must be letters, digits, '-' and '_', such as 'mine' (got {seen(self.name)})"
            )
        for field in ("save", "load", *OPTIONAL):
            value = getattr(self, field)
            if not callable(value) and not (field in OPTIONAL and value is None):
                raise ScenarioError(
                    f"checkpointer {self.name!r}: {field} must be a function (got {seen(value)})"
                )
        if set(self.only) - set(WORK) or (self.only and not self.only_since):
            raise ScenarioError(
                f"checkpointer {self.name!r}: only must be words of {listed(WORK)}, with only_since, which says why "
                f"(got {seen(self.only)})"
            )

        for pair in self.readers:
            if not (
                isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and callable(pair[1])
            ):
                raise ScenarioError(
                    f"checkpointer {self.name!r}: readers must be pairs of a name and a function (got {seen(pair)})"
                )

    def __str__(self) -> str:
        return text_of(self.name, dict(self.chosen))

    def __repr__(self) -> str:
        return f"Checkpointer(name={str(self)!r})"

    @property
    def keywords(self) -> dict[str, Option]:
        """The options as keyword arguments."""
        return {**dict(self.options), **dict(self.chosen)}

    @property
    def own_server(self) -> Callable[..., Any] | None:
        """What a campaign starts; None where there is no such thing, or an option says where one runs."""
        return None if self.keywords.get("server") else self.server

    @property
    def modules(self) -> tuple[str, ...]:
        """What ranks import once for all of them: `preload`, and the module of `save`."""
        own = getattr(self.save, "__module__", "")
        return (*self.preload, own) if own and own != "__main__" else self.preload

    @property
    def work(self) -> tuple[str, ...]:
        """The words of `WORK` that make sense for it: each is a scenario ``NAME.word``."""
        return tuple(word for word in WORK if not self.why_not(word))

    def why_not(self, word: str) -> str:
        """Why there is no scenario ``NAME.word`` of one of the `WORK`; "" where there is one."""
        if self.only and word not in self.only:
            return self.only_since
        replaces = self.replaces
        if callable(replaces):
            replaces = replaces(**taken(replaces, self.keywords))
        is_there = {"overwrite": replaces, "prune": self.prune is not None, "async": self.is_async}
        if is_there.get(word, True):
            return ""
        return f"it does not {'save asynchronously' if word == 'async' else word}"

    def require_work(self, word: str) -> None:
        """Raises ScenarioError where there is no scenario ``NAME.word``."""
        if word not in self.work:
            told = (
                f"it has none, since {self.why_not(word)}"
                if word in WORK
                else f"its scenarios are {listed(tuple(f'{self.name}.{one}' for one in self.work))}"
            )
            raise ScenarioError(
                f"checkpointer {str(self)!r} has no scenario {seen(word)}; {told}{nearest(word, self.work)}"
            )

    def served(self, options: Mapping[str, Option]) -> Checkpointer:
        """The same with what its server gives; itself where that is nothing."""
        return self.with_options(**options) if options else self

    def with_options(self, **values: Option) -> Checkpointer:
        """The same with other options.  Raises ScenarioError for an unknown one or a wrong type."""
        defaults = dict(self.options)
        chosen = {**dict(self.chosen), **chosen_from(self.name, defaults, values)}
        kept = tuple(
            (name, chosen[name]) for name in defaults if chosen.get(name, defaults[name]) != defaults[name]
        )
        return msgspec.structs.replace(self, chosen=kept)
