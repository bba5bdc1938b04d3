"""Process groups that a run made beside the default one: they end before the next run, unless somebody keeps them.

They do not end with the run that made them, since that would wake ranks which still wait in them.  A group that code
under test keeps, in a module or by a device mesh, is one that a job has for its whole life: it stays, and so does who
uses it from run to run.  Whether it is kept is seen by its references: those of torch's own tables are known.  Looking
for cycles takes far longer than a short run, so it is done where a group is new among the kept ones, and now and then.

Not covered: who keeps only the name of a group; a group that was kept for a while and then hangs in a cycle, which
may stay for `RUNS_BETWEEN` runs.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from typing import Any

__all__ = ["end_unkept"]

TABLES = ("pg_map", "pg_names", "pg_group_ranks", "pg_backend_config", "pg_to_tag", "pg_coalesce_state")
GROUP_COUNT_MAX = 1 << 20  # of one run; a name that was used before would be found in the store
OWN_REFERENCES = 2  # by the list here and by the call that counts

RUNS_BETWEEN = 64

_first_number: int | None = None  # of the groups of this run
_known_kept: set[str] = set()  # names of groups that were still kept when cycles were last looked for
_runs_since = 0


def end_unkept() -> None:
    """End the groups of earlier runs to which nothing outside of torch refers."""
    import torch.distributed as dist

    global _known_kept, _runs_since
    world: Any = dist.distributed_c10d._world
    groups = [group for group in world.pg_map if group is not dist.group.WORLD]
    kept = {groups[place].group_name for place in range(len(groups)) if _is_kept(world, groups, place)}
    _runs_since += 1
    if kept - _known_kept or (kept and _runs_since >= RUNS_BETWEEN):
        gc.collect()  # a cycle of dead objects keeps nothing
        _runs_since = 0
        kept = {groups[place].group_name for place in range(len(groups)) if _is_kept(world, groups, place)}
    _known_kept = kept
    ended = [place for place in range(len(groups)) if groups[place].group_name not in kept]
    for place in ended:
        with contextlib.suppress(Exception):
            dist.destroy_process_group(groups[place])
    _count_alike(world)


def _count_alike(world: Any) -> None:
    """torch names groups by their number, since 2.14 also those that one rank made alone: all ranks go on from one."""
    global _first_number
    _first_number = world.group_count if _first_number is None else _first_number + GROUP_COUNT_MAX
    world.group_count = _first_number


def _is_kept(world: Any, groups: list[Any], place: int) -> bool:
    in_tables = sum(groups[place] in getattr(world, name, ()) for name in TABLES)
    in_tables += sum(one is groups[place] for tagged in world.tags_to_pg.values() for one in tagged)
    return sys.getrefcount(groups[place]) > in_tables + OWN_REFERENCES
