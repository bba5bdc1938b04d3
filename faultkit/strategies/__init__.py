"""Hypothesis strategies: which ranks fail where, with what error, and the state they were saving.

    from hypothesis import given
    from faultkit import World, strategies

    world = World(4)

    @given(plan=strategies.rank_failures(4))
    def test_every_rank_learns_of_a_failed_save(plan):
        world.run(save, plan=plan).raise_for_violations()

What they draw are faultkit's own values, so that a falsifying example is one line that can be pasted into a
marker or given to ``faultkit replay``.  Arguments are checked when a strategy is made: InvalidArgument says
which one, the rule, what was seen and what is nearest to it.

Examples shrink to the fewest faults, then the fewest ranks, the lowest ranks, the earliest point in the order
in which the engine calls them, the simplest action (raise before all else) and exception (ValueError before
all else), the smallest state and the smallest world.  Generation is swarm-weighted: most examples draw from a
random subset of the points, moments and families of errors, the same for all strategies of one example, so
that combinations which would be rare among all of them get their turn.

Names are loaded when they are first used: importing this package imports neither Hypothesis nor torch, and a
rank that builds a drawn state needs no Hypothesis.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.history import checkpoint_history, replay_history
    from faultkit.history.managers import Manager, dcp_manager, renaming_manager
    from faultkit.strategies import profiles
    from faultkit.strategies.confirming import confirm
    from faultkit.strategies.errors import ERROR_FAMILIES, actions, exceptions
    from faultkit.strategies.plans import fault_plans, faults, rank_failures, ranks, world_sizes
    from faultkit.strategies.recipes import DTYPES, SaveLoadPair, StateRecipe
    from faultkit.strategies.schedules import schedules
    from faultkit.strategies.states import save_load_pairs, state_dicts
    from faultkit.strategies.steering import steer, target_coverage

__all__ = [
    "DTYPES",
    "ERROR_FAMILIES",
    "Manager",
    "SaveLoadPair",
    "StateRecipe",
    "actions",
    "checkpoint_history",
    "confirm",
    "dcp_manager",
    "exceptions",
    "fault_plans",
    "faults",
    "profiles",
    "rank_failures",
    "ranks",
    "renaming_manager",
    "replay_history",
    "save_load_pairs",
    "schedules",
    "state_dicts",
    "steer",
    "target_coverage",
    "world_sizes",
]

if not TYPE_CHECKING:  # else every misspelt name would type-check
    _HOMES = {
        "DTYPES": "faultkit.strategies.states",
        "ERROR_FAMILIES": "faultkit.strategies.errors",
        "Manager": "faultkit.history.managers",
        "SaveLoadPair": "faultkit.strategies.recipes",
        "StateRecipe": "faultkit.strategies.recipes",
        "actions": "faultkit.strategies.errors",
        "checkpoint_history": "faultkit.history",
        "confirm": "faultkit.strategies.confirming",
        "dcp_manager": "faultkit.history.managers",
        "exceptions": "faultkit.strategies.errors",
        "fault_plans": "faultkit.strategies.plans",
        "faults": "faultkit.strategies.plans",
        "profiles": "faultkit.strategies.profiles",
        "rank_failures": "faultkit.strategies.plans",
        "ranks": "faultkit.strategies.plans",
        "renaming_manager": "faultkit.history.managers",
        "replay_history": "faultkit.history",
        "save_load_pairs": "faultkit.strategies.states",
        "schedules": "faultkit.strategies.schedules",
        "state_dicts": "faultkit.strategies.states",
        "steer": "faultkit.strategies.steering",
        "target_coverage": "faultkit.strategies.steering",
        "world_sizes": "faultkit.strategies.plans",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
