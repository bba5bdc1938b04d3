"""`Fault` and `FaultPlan`: what breaks in a run, as frozen values that print as one line of text each and read it back.

Guarantees: values are immutable, hashable and canonical, so that two plans that say the same are equal, and
``FaultPlan.parse(str(plan)) == plan``.  Reading a plan runs no code.  Not covered: carrying a plan out, and whether its
points are ever reached.  The grammar stands in `faultkit.plan`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec

from faultkit.exceptions import PlanError
from faultkit.messages import listed, nearest, seen, shortened
from faultkit.plan.action_places import require_actionable
from faultkit.plan.actions import OWN_EXCEPTIONS, Action, require_allowed
from faultkit.plan.engine_calls import OUTSIDE
from faultkit.plan.file_filters import ANY, CHILD, filter_text, matches, read_path, read_thread
from faultkit.plan.grammar import (
    ROLES,
    FaultParts,
    read_action,
    read_calls,
    read_fault,
    read_plan,
    read_ranks,
)
from faultkit.plan.limits import require_count, require_length
from faultkit.plan.named_points import CALL, require_there
from faultkit.plan.plan_json import read_faults, write_faults
from faultkit.plan.points import MOMENTS, catalogue, find, require_filterable, require_moment
from faultkit.plan.spans import bounded, call_text, holds, ranks_text, spans_of

__all__ = ["Fault", "FaultPlan", "PlanError"]

FAULT_LENGTH_SHOWN_MAX = 120


class Fault(msgspec.Struct, frozen=True):
    """One fault: at `point` and `moment`, on `ranks`, at `calls`, `action` happens.

    All are kept as canonical text.

    Args:
        point: a name of the catalogue, such as ``"writer.write_data"``.
        action: an `Action` or its text.
        moment: ``"before"``, ``"after"`` or ``"future"``.
        ranks: text of the grammar, one rank, or ranks in any order.
        calls: text of the grammar or one number, counted from 1 for each rank; at a point of layer ``fs`` among the
            files and threads that it names.
        path: at a point of layer ``fs``, a glob of files; ``*`` for any.
        thread: at a point of layer ``fs``, the role ``main`` or ``helper``; ``*`` for any.  At every point, ``child``
            means the processes that a rank forks, or starts by `multiprocessing`, and not the rank itself.

    Raises:
        PlanError: for anything that the grammar does not allow.
        TypeError: a value is of a wrong type.
    """

    point: str
    action: Action
    moment: str = "before"
    ranks: str = "*"
    calls: str = "1-"
    path: str = ANY
    thread: str = ANY

    def __post_init__(self) -> None:
        point = find(self.point)
        if not isinstance(self.moment, str):
            raise TypeError(f"moment must be one of {listed(MOMENTS)} (got {seen(self.moment)})")
        require_moment(point, self.moment)
        action = read_action(self.action) if isinstance(self.action, str) else self.action
        if not isinstance(action, Action):
            raise TypeError(f"action must be an Action or its text (got {seen(action)})")
        ranks = read_ranks(self.ranks) if isinstance(self.ranks, str) else ranks_text(self.ranks)
        calls = read_calls(self.calls) if isinstance(self.calls, str) else call_text(self.calls)
        path, thread = read_path(self.path), read_thread(self.thread)
        require_filterable(point, path, thread)
        require_actionable(point, action, calls, self.moment, thread)
        canonical = {"action": action, "ranks": ranks, "calls": calls, "path": path, "thread": thread}
        for name, value in canonical.items():
            msgspec.structs.force_setattr(self, name, value)

    @classmethod
    def parse(cls, text: str, allow: Collection[str] = ()) -> Fault:
        """The fault that `text` writes; see `FaultPlan.parse`."""
        return _fault_of(read_fault(_require_text(text, "a fault"), _require_allow(allow)))

    def __str__(self) -> str:
        moment = "" if self.moment == "before" else f":{self.moment}"
        ranks = "" if self.ranks == "*" else f"@{self.ranks}"
        calls = "" if self.calls == "1-" else f"#{self.calls}"
        return f"{self.site}{moment}{ranks}{calls}={self.action}"

    def __repr__(self) -> str:
        return f"Fault.parse({_arguments_shown(str(self), [self])})"

    @property
    def site(self) -> str:
        """The point with its files, as the grammar writes it: ``fs.write("*.distcp", helper)``."""
        return f"{self.point}{filter_text(self.path, self.thread)}"

    @property
    def layer(self) -> str:
        """The part of the point before the dot."""
        return self.point.partition(".")[0]

    @property
    def name(self) -> str:
        """The part of the point after the dot."""
        return self.point.partition(".")[2]

    @property
    def in_child(self) -> bool:
        """Whether it strikes in child processes of the ranks, and not in the ranks themselves."""
        return self.thread == CHILD

    @property
    def is_outside(self) -> bool:
        """Whether it strikes outside of every step of the engine, also while another thread is in one."""
        return self.layer in OUTSIDE

    @property
    def reads(self) -> bool:
        """Whether only opening a file for reading counts: what then happens is seen by who reads it."""
        return self.point in ("fs.open", "fs.create_stream") and self.action.replaces_call

    def matches_rank(self, rank: int, world_size: int, coordinator: int = 0) -> bool:
        """Whether `rank` of a world of `world_size` ranks is one of the fault's."""
        match self.ranks:
            case "*":
                return True
            case "coordinator":
                return rank == coordinator
            case "others":
                return rank != coordinator
            case "first":
                return rank == 0
            case "last":
                return rank == world_size - 1
        return holds(self.ranks, rank)

    def matches_path(self, path: str) -> bool:
        """Whether the file at `path` is one of the fault's, see `faultkit.plan.file_filters`."""
        return matches(self.path, path)

    def matches_call(self, call: int) -> bool:
        """Whether the `call`-th call (1-based, counted per rank) is one of the fault's."""
        return holds(self.calls, call)

    # the earlier names
    hits_rank, hits_path, hits_call = matches_rank, matches_path, matches_call


_NO_FAULTS: tuple[Fault, ...] = ()


class FaultPlan(msgspec.Struct, frozen=True):
    """The faults of one run, in the order in which they are carried out where several hit the same call.

    `faults` may be one `Fault` or any iterable of them.  A plan is iterable, sized, and false when empty;
    ``+`` joins two plans.  Raises PlanError for more than `faultkit.plan.limits` allows.
    """

    faults: tuple[Fault, ...] = _NO_FAULTS

    def __post_init__(self) -> None:
        if self.faults is _NO_FAULTS:
            return
        faults = () if isinstance(self.faults, str | bytes) else self.faults
        faults = tuple(faults) if isinstance(faults, Iterable) else (faults,)
        if isinstance(self.faults, str | bytes) or not all(isinstance(fault, Fault) for fault in faults):
            message = f"faults must be Fault values (got {seen(self.faults)}); FaultPlan.parse reads text"
            raise TypeError(message)
        require_count(len(faults))
        require_length(sum(len(str(fault)) + 2 for fault in faults), "a plan")
        msgspec.structs.force_setattr(self, "faults", faults)

    @classmethod
    def parse(cls, text: str, allow: Collection[str] = ()) -> FaultPlan:
        """The plan that `text` writes.

        `allow` holds the exception types, as ``"module:Name"``, that the text may name besides the builtins;
        none is imported here.  Raises PlanError, one line with the column, for any text that is no plan.
        """
        return cls(tuple(map(_fault_of, read_plan(_require_text(text, "a plan"), _require_allow(allow)))))

    @classmethod
    def from_json(cls, text: str | bytes, allow: Collection[str] = ()) -> FaultPlan:
        """The plan that `to_json` wrote.  `allow` as for `parse`.  Raises PlanError."""
        allowed = _require_allow(allow)
        faults = []
        for index, entry in enumerate(read_faults(text)):
            parameters = {name: value for name, value in entry["action"].items() if name != "name"}
            try:
                action = Action(entry["action"]["name"], tuple(parameters.items()))
                require_allowed(action, allowed)
                faults.append(Fault(**{**entry, "action": action}))
            except (PlanError, TypeError) as error:
                raise PlanError(f"faultkit plan, JSON, fault {index}: {error}") from None
        return cls(tuple(faults))

    @classmethod
    def failing(cls, **points: int | str | Iterable[int]) -> FaultPlan:
        """The short form: ``failing(write_data=[2], read_data_async=0)`` raises ValueError on those ranks.

        Each keyword is a point of layer ``storage``; with ``_async`` behind it, the fault stands in the
        future that the point returns.  No ranks, no fault.  Raises PlanError for an unknown keyword.
        """
        storage = [point for point in catalogue() if point.layer == "storage"]
        known = {p.name: (str(p), "before") for p in storage}
        known |= {f"{p.name}_async": (str(p), "future") for p in storage if p.futures}
        faults = []
        for keyword, ranks in points.items():
            if keyword not in known:
                rule = f"points are {listed(known)}{nearest(keyword, known)}"
                raise PlanError(f"unknown point {seen(keyword)} of FaultPlan.failing; {rule}")
            if not isinstance(ranks, str):
                numbers = list(bounded(ranks)) if isinstance(ranks, Iterable) else [ranks]
                if not numbers:
                    continue
                ranks = ranks_text(numbers)
            point, moment = known[keyword]
            faults.append(Fault(point, Action("raise", (("exception", "ValueError"),)), moment, ranks))
        return cls(tuple(faults))

    def to_json(self) -> str:
        """The plan as one line of JSON in ASCII, see `faultkit.plan.plan_json`."""
        entries: list[dict[str, Any]] = []
        for fault in self.faults:
            entry = {name: getattr(fault, name) for name in ("point", "moment", "ranks", "calls")}
            files = {name: getattr(fault, name) for name in ("path", "thread") if getattr(fault, name) != ANY}
            action = {"name": fault.action.name, **dict(fault.action.parameters)}
            entries.append({**entry, **files, "action": action})
        return write_faults(entries)

    def validate_for(self, world_size: int) -> None:
        """Raises PlanError where a fault names a rank that a world of `world_size` ranks does not have, or a function
        of a module that does not exist.
        """
        self.validate_ranks_for(world_size)
        require_there(fault.point for fault in self.faults if fault.layer == CALL)

    def validate_ranks_for(self, world_size: int) -> None:
        """As `validate_for`, of the ranks alone."""
        if isinstance(world_size, bool) or not isinstance(world_size, int):
            raise TypeError(f"world_size must be an integer (got {seen(world_size)})")
        if world_size < 1:
            raise PlanError(f"world_size must be at least 1 (got {seen(world_size)})")
        for fault in self.faults:
            for low, high in () if fault.ranks in ("*", *ROLES) else spans_of(fault.ranks):
                if high >= world_size:
                    shown = shortened(str(fault), FAULT_LENGTH_SHOWN_MAX)
                    raise PlanError(
                        f"rank {max(low, world_size)} of fault {shown!r} is beyond the world; "
                        f"ranks of a world of {world_size} are 0..{world_size - 1}"
                    )

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults))

    def __repr__(self) -> str:
        return f"FaultPlan.parse({_arguments_shown(str(self), self.faults)})"

    def __len__(self) -> int:
        return len(self.faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.faults)

    def __bool__(self) -> bool:
        return bool(self.faults)

    def __add__(self, other: FaultPlan) -> FaultPlan:
        if not isinstance(other, FaultPlan):
            return NotImplemented
        return FaultPlan(self.faults + other.faults)


def _fault_of(parts: FaultParts) -> Fault:
    return Fault(parts.point, parts.action, parts.moment, parts.ranks, parts.calls, parts.path, parts.thread)


def _arguments_shown(text: str, faults: Iterable[Fault]) -> str:
    names = (str(fault.action.get("exception", "")) for fault in faults)
    foreign = tuple(dict.fromkeys(n for n in names if ":" in n and not n.startswith(OWN_EXCEPTIONS)))
    return f"{text!r}, allow={foreign!r}" if foreign else repr(text)


def _require_text(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be text (got {seen(text)})")
    return text


def _require_allow(allow: object) -> tuple[str, ...]:
    if isinstance(allow, str | bytes) or not isinstance(allow, Iterable):
        raise TypeError(f"allow must be a collection of 'module:Name' texts (got {seen(allow)})")
    names = tuple(allow)
    for name in names:
        if not isinstance(name, str) or ":" not in name:
            raise TypeError(f"allow must hold 'module:Name' texts (got {seen(name)})")
    return names
