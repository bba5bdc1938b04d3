"""Which figures there are: three groups, and the few that take little.

*Feel* is what a person waits for, *throughput* how much is done in a second, *scale* what becomes of it with many
ranks and with large states.  A figure is a function that measures and gives a `Row`; its name is that of the function.
A new one is entered into one group, and into `QUICK` where it takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import after_loads, crash_states, large_states, recording, simulated, worlds

__all__ = ["GROUPS", "QUICK", "SLOW", "Row", "named"]

Row = tuple[
    str, str, str, str
]  # what is done, with faultkit, the limit in the same run, the ratio with its goal

FEEL: tuple[Callable[[], Row], ...] = (
    worlds.import_cost,
    worlds.plugin_cost,
    worlds.fresh_world,
    worlds.one_test,
    worlds.sixty_tests,
    worlds.death,
    worlds.deadlock,
    worlds.next_after_death,
    worlds.death_in_torch,
)
THROUGHPUT: tuple[Callable[[], Row], ...] = (
    worlds.warm_plans,
    worlds.watching,
    worlds.examples,
    after_loads.after_loads_of_tensors,
    after_loads.after_loads_of_a_job,
    recording.recording_small,
    recording.recording_large,
    crash_states.crash_states,
    crash_states.crash_exploration,
    simulated.simulated_plans,
    simulated.simulated_jobs,
)
SCALE: tuple[Callable[[], Row], ...] = (
    simulated.simulated_sixty_four,
    simulated.simulated_deadlock,
    simulated.simulated_thousand,
    simulated.simulated_four_thousand,
    large_states.large_save,
    large_states.large_read_back,
    large_states.large_recording,
)
GROUPS = {"feel": FEEL, "throughput": THROUGHPUT, "scale": SCALE}

QUICK = frozenset(
    {"import_cost", "fresh_world", "warm_plans", "death", "deadlock", "simulated_plans", "simulated_deadlock"}
    | {"large_save"}
)
SLOW = frozenset({"death_in_torch", "simulated_four_thousand"})  # minutes each: only where they are named


def named() -> dict[str, Callable[[], Row]]:
    """Every figure by its name."""
    return {figure.__name__: figure for group in GROUPS.values() for figure in group}
