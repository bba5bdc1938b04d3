"""The built-in checkpointer of the stock engine, with one of the defects of `tests.helpers.defective_engines` each.

What the stock engine breaks by itself is broken here, too: a defect is what a check finds beside that.
"""

from __future__ import annotations

from faultkit import Checkpointer
from faultkit.checkpointers.engines import dcp
from tests.helpers import defective_engines

# the promises by which each may be told
PROMISES = {
    "loses_the_highest_of_several_ranks": {"ranks-learn"},
    "names_the_next_rank": {"ranks-learn"},
    "names_the_coordinator_for_the_last": {"ranks-learn"},
    "keeps_one_of_two_different_errors": {"ranks-learn"},
    "forgets_two_ranks_that_fail_without_the_coordinator": {"ranks-learn"},
    "tells_another_step": {"ranks-learn"},
    "tells_only_the_coordinator": {"ranks-learn", "acknowledged"},
    "last_rank_never_learns": {"ranks-learn", "acknowledged"},
    "load_forgets_readers_but_the_first": {"ranks-learn", "filled", "acknowledged", "round-trip"},
    "swallows_os_errors": {"ranks-learn", "acknowledged", "old-survives"},
    "swallows_a_full_disk": {"ranks-learn", "acknowledged", "old-survives"},
    "swallows_what_stops_an_iteration": {"ranks-learn", "acknowledged", "old-survives"},
    "never_looks_into_the_future": {"ranks-learn", "acknowledged"},
    "never_writes_on_rank_1": {"round-trip", "acknowledged"},
    "renames_every_error": {"cause"},
    "renames_lookup_errors": {"cause"},
    "renames_what_does_not_pickle": {"hostile", "cause"},
    "takes_groups_apart": {"cause", "hostile"},
    "renames_what_is_no_exception": {"hostile", "cause"},
    "drops_error_numbers": {"cause"},
    "prints_before_it_tells": {"hostile", "cause"},
    "hangs_when_two_fail_at_once": {"liveness"},
    "dies_of_a_memory_error": {"liveness"},
    "tells_at_the_timeout": {"liveness", "ranks-learn"},
    "cannot_save_after_a_failed_write": {"next-attempt"},
    "rounds_half_precision": {"round-trip", "application", "resharding", "filled"},
    "loads_nothing_into_more_ranks": {"round-trip", "application", "resharding", "filled"},
    "takes_views_for_wholes": {"round-trip", "application", "resharding", "filled"},
}


def save(state, directory, step, defect="none"):
    with defective_engines.DEFECTS[defect]():
        dcp.save(state, directory, step)


def load(state, directory, defect="none"):
    with defective_engines.DEFECTS[defect]():
        return dcp.load(state, directory)


PATCHED = Checkpointer(
    name="patched",
    save=save,
    load=load,
    steps=dcp.steps,
    prune=dcp.prune,
    any_state=True,
    readers=dcp.DCP.readers,
    state=dcp.DCP.state,
    preload=dcp.DCP.preload,
    options=(("defect", "none"), ("state", "default")),
)
