"""Where a drawn fault can stand: points with moments, in the order in which the engine comes by them.

A point that the engine's calls do not name (`faultkit.plan.engine_calls`) stands behind all that they do, in the order
of the catalogue.  `promised_sites` are the storage points, and futures, whose failure the engine promises to report to
every rank.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable

import msgspec
from hypothesis.errors import InvalidArgument

from faultkit.messages import shown
from faultkit.plan import PlanError
from faultkit.plan.engine_calls import PROMISED
from faultkit.plan.file_filters import ANY, CHILD, filter_text
from faultkit.plan.grammar import read_fault
from faultkit.plan.named_points import CALL
from faultkit.plan.points import HTTP, MOMENTS, Point, catalogue, find, require_moment
from faultkit.strategies.arguments import checked_choices, rejecting

__all__ = ["Site", "promised_sites", "sites_of"]

_PARTS = re.compile(r"([^(:]*)(\(.*\))?(?::(.*))?", re.DOTALL)


class Site(msgspec.Struct, frozen=True):
    """A point and a moment at which a fault can stand; of files, maybe also which, and on which threads."""

    point: str
    moment: str
    path: str = ANY
    thread: str = ANY

    def __str__(self) -> str:
        point = f"{self.point}{filter_text(self.path, self.thread)}"
        return point if self.moment == "before" else f"{point}:{self.moment}"

    @property
    def coordinator_only(self) -> bool:
        return find(self.point).coordinator_only

    @property
    def families(self) -> tuple[str, ...]:
        """What the swarm may leave out: the point, and all that comes before the data is written or read.

        A rank that has failed there comes to nothing later, so that half of the examples start later.
        """
        return (self.point, "early") if find(self.point).is_early else (self.point,)


@functools.cache
def promised_sites(op: str) -> tuple[Site, ...]:
    """The storage points whose failure a save or a load reports to every rank, in the order of calls."""
    sites = []
    for text in PROMISED[op]:
        name, _, moment = text.partition(":")
        sites.append(Site(f"storage.{name}", moment or "before"))
    return tuple(sites)


def sites_of(points: object, moments: object, op: str) -> tuple[Site, ...]:
    """The sites that `points` name, in the order of calls.

    A point is ``"layer.name"``, the bare name of a storage point, a pattern such as ``"planner.*"``, any of
    these with ``":moment"`` behind it, or a `Point`.  Behind one of files may stand which files, and the thread,
    as in the grammar: ``'fs.write("*.distcp", helper):after'``; behind any, ``(child)``.  Raises InvalidArgument.
    """
    chosen = checked_choices("moments", moments, MOMENTS)
    if points is None:
        found = [site for site in promised_sites(op) if moments is None or site.moment in chosen]
        if not found:
            raise InvalidArgument(
                f"moments must leave at least one of the points of a {op} (got {shown(moments)})"
            )
        return tuple(found)
    given = [points] if isinstance(points, str | Point) else points
    if not isinstance(given, Iterable):
        raise InvalidArgument(f"points must be a collection of points or patterns (got {shown(points)})")
    found = [site for point in given for site in _sites_of_one(point, chosen)]
    if not found:
        raise InvalidArgument("points must name at least one point (got none)")
    return tuple(sorted(dict.fromkeys(found), key=functools.partial(_place, op)))


def _sites_of_one(point: object, moments: tuple[str, ...]) -> list[Site]:
    if not isinstance(point, str | Point):
        raise InvalidArgument(f"points must hold texts such as 'writer.write_data' (got {shown(point)})")
    text, files, moment = _PARTS.fullmatch(str(point)).groups(default="")  # type: ignore[union-attr]
    if text.startswith(f"{CALL}."):
        name, _, moment = moment.partition(":")
        text = f"{text}:{name}"
    chosen = _files_of(files) if files else ()
    if files and not text.startswith("fs.") and chosen != (ANY, CHILD):
        raise InvalidArgument(f"points: only points of layer 'fs' are of files (got {shown(point)})")
    if any(mark in text for mark in "*?["):
        # A point in time is no call of anything, and a request needs a server: no pattern means them.
        known = [
            p for p in catalogue() if fnmatch.fnmatchcase(str(p), text) and p.layer not in ("clock", HTTP)
        ]
        if not known:
            raise InvalidArgument(f"points: no point matches the pattern {text!r}; try 'planner.*'")
        known = [p for p in known if not moment or moment in p.moments]
    else:
        known = [_found(text)]
    try:
        for one in known if moment else ():
            require_moment(one, moment)
    except PlanError as error:
        raise InvalidArgument(f"points: {error}") from None
    sites = [
        Site(str(one), each, *chosen)
        for one in known
        for each in ((moment,) if moment else one.known_moments)
        if each in moments
    ]
    if not sites:
        raise InvalidArgument(f"points: {str(point)!r} has none of the moments {', '.join(moments)}")
    return sites


def _files_of(text: str) -> tuple[str, str]:
    """The path and the thread that ``("path", thread)`` means."""
    fault = rejecting("points", lambda: read_fault(f"fs.open{text}=hang"))
    return fault.path, fault.thread


def _found(text: str) -> Point:
    try:
        return find(text if "." in text else f"storage.{text}")
    except PlanError as error:
        raise InvalidArgument(f"points: {error}") from None


def _place(op: str, site: Site) -> tuple[int, int, int]:
    places = _catalogue_places()
    return find(site.point).place_in(op), places.get(site.point, len(places)), MOMENTS.index(site.moment)


@functools.cache
def _catalogue_places() -> dict[str, int]:
    return {str(point): place for place, point in enumerate(catalogue())}
