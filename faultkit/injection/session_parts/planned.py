"""What a plan has to be asked at which calls: derived from it once, when a process is armed.

A site is what calls are counted at: a point, or a point of files with the files and the thread that a fault means.
Not covered: what was counted, and what fired (`faultkit.injection.session`).
"""

from __future__ import annotations

from typing import NamedTuple

from faultkit.plan import Fault, FaultPlan
from faultkit.plan.points import NATIVE_POINTS, STREAM_POINTS

__all__ = ["Planned", "Site"]


class Site(NamedTuple):
    """What is counted: calls of a point on these files, by these threads, and maybe only where files are read."""

    key: str
    path: str
    thread: str
    reads: bool


class Planned:
    """The faults of a plan by where they strike.

    `sites` are those of each point; `faults` those of a site's key and a moment, with their index in the plan; `points`
    the points that have a fault.  `of_files` has the index of each fault of a file that native code can open;
    `keeps_given` the keys of sites whose last value somebody is to get; `alters_value` is whether a fault changes what
    a call gives.  `stale` are the faults that show an old version of what is written to a stream; of real files
    `faultkit.injection.files.raw` remembers them.
    """

    def __init__(self, plan: FaultPlan) -> None:
        self.sites: dict[str, tuple[Site, ...]] = {}
        self.faults: dict[tuple[str, str], list[tuple[int, Fault]]] = {}
        for index, fault in enumerate(plan):
            site = _site_of(fault)
            self.faults.setdefault((site.key, fault.moment), []).append((index, fault))
            sites = self.sites.get(fault.point, ())
            self.sites[fault.point] = sites if site in sites else (*sites, site)
        self.points = frozenset(self.sites)
        self._names: dict[str, tuple[str, ...]] = {}
        for point in sorted(self.points):
            layer, _, name = point.partition(".")
            self._names[layer] = (*self._names.get(layer, ()), name)
        self.of_files = tuple(
            index for index, f in enumerate(plan) if f.layer == "fs" and f.name in NATIVE_POINTS
        )
        self.alters_value = any(fault.action.alters_value for fault in plan)
        self.keeps_given = frozenset(
            _site_of(f).key for f in plan if f.action.spec.replaces == "earlier value"
        )
        self.stale = tuple(
            f for f in plan if f.point == "fs.create_stream" and f.action.spec.replaces == "version"
        )

    def names(self, layer: str) -> tuple[str, ...]:
        """The names of the layer's points that have a fault in the plan, sorted."""
        return self._names.get(layer, ())

    def methods(self, layer: str) -> tuple[str, ...]:
        """The names of the methods that faults of the layer have to be shown: of files, also what opens streams."""
        names = {"ls" if (layer, name) == ("fs", "listdir") else name for name in self.names(layer)}
        if layer == "fs" and not names.isdisjoint(STREAM_POINTS):
            names.add("create_stream")
        if layer == "fs" and self.stale:
            names |= {"create_stream", "rename", "rm_file"}  # what takes an old version away
        if layer == "stager" and names:
            names.add("stage")  # which comes first, and on the thread that makes the save
        return tuple(sorted(names))


def _site_of(fault: Fault) -> Site:
    return Site(f"{fault.site}{' reading' * fault.reads}", fault.path, fault.thread, fault.reads)
