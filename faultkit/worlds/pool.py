"""The worlds and the folders that a campaign of many sizes runs in: made when first needed, kept from case to case.

Guarantees: there is one world per number of ranks; a world that a run damaged is replaced before its next run.
Each case has a folder of its own, in memory where the machine has a place for that, which it removes.
`WorldPool.close` ends the ranks and removes what is left; where nobody calls it, that happens when this process ends,
and the fork server removes the folders of a process that was killed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from faultkit.messages import shown
from faultkit.processes.directories import OwnedDirectory, in_memory
from faultkit.runs import launcher as launchers
from faultkit.worlds.arguments import require_seconds
from faultkit.worlds.world import World

__all__ = ["GivenWorlds", "WorldPool"]

GivenWorlds = Mapping[int, World] | Callable[[int], World] | None


class WorldPool:
    """Worlds by their number of ranks, and folders.  Given `worlds` are used as they are, and not closed.

    `modules` are imported once for all ranks of those that are made; `name` is in the names of folders.  Where
    `ranks_differ` each rank has a seed of its own; `launcher` keeps their jobs; `server` is a context manager that
    starts what all cases need beside them, and gives options that say where.  Raises ValueError for a timeout or
    worlds that are none.
    """

    def __init__(
        self,
        *,
        name: str,
        timeout: float,
        worlds: GivenWorlds = None,
        kind: str = "warm",
        modules: tuple[str, ...] = (),
        ranks_differ: bool = False,
        launcher: str = launchers.NONE,
        server: Callable[..., Any] | None = None,
    ) -> None:
        is_given = worlds is not None
        if is_given and (isinstance(worlds, type) or not (callable(worlds) or isinstance(worlds, Mapping))):
            raise ValueError(
                "worlds must be a mapping or a function from a number of ranks to a World, or None "
                f"(got {shown(worlds)})"
            )
        for size, world in worlds.items() if isinstance(worlds, Mapping) else ():
            if not isinstance(world, World):
                raise ValueError(f"worlds must hold Worlds (got {shown(world)} for {shown(size)} ranks)")
        self.timeout, self.kind, self.given = require_seconds("timeout", timeout), kind, worlds
        self.name, self.modules, self.ranks_differ, self.launcher = name, modules, ranks_differ, launcher
        self.server = server
        self._served: dict[str, Any] | None = None
        self._serving = contextlib.ExitStack()
        self._made: dict[int, World] = {}
        self._numbers = itertools.count(1)
        self._root: OwnedDirectory | None = None
        self._closing: Any = weakref.finalize(self, _nothing)

    def world(self, size: int) -> World:
        """The world of `size` ranks."""
        if self.given is not None:
            return self.given(size) if callable(self.given) else self.given[size]
        if size not in self._made:
            self._made[size] = World(
                size,
                kind=self.kind,
                timeout=self.timeout,
                preload=self.modules,
                ranks_differ=self.ranks_differ,
                launcher=self.launcher,
            )
            self._rearm()
        return self._made[size]

    def folder(self) -> Path:
        """A new empty folder for one case."""
        if self._root is None:
            preload = self.modules if self.given is None else ()
            self._root = OwnedDirectory(f"faultkit-{self.name}-", in_memory(), preload=preload)
            self._rearm()
        made = self._root.path / f"{self.name}-{next(self._numbers)}"
        made.mkdir()
        return made

    def served(self) -> dict[str, Any]:
        """The options that the server gives, which is started now where it does not run yet; none without a server."""
        if self.server is None:
            return {}
        if self._served is None:
            self._served = self._serving.enter_context(self.server())
            self._rearm()
        return self._served

    def pids(self) -> set[int]:
        """The process numbers of the ranks of the worlds made here."""
        return {pid for world in self._made.values() for pid in world.pids().values()}

    def close(self) -> None:
        """End the ranks of the worlds made here and the server, and remove every folder.  Closing twice is fine."""
        self._closing()
        self._made, self._root = {}, None
        self._served, self._serving = None, contextlib.ExitStack()
        self._closing = weakref.finalize(self, _nothing)

    def _rearm(self) -> None:
        self._closing.detach()
        # not a method: what is to be closed must not keep this object
        self._closing = weakref.finalize(
            self, functools.partial(_end, tuple(self._made.values()), self._root, self._serving)
        )


def _end(worlds: tuple[World, ...], root: OwnedDirectory | None, serving: contextlib.ExitStack) -> None:
    with serving:
        for world in worlds:
            world.close()
        if root is not None:
            root.close()


def _nothing() -> None:
    pass
