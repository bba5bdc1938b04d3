"""Every planted defect is found within `EXAMPLES_MAX` examples, and shrinks to the one smallest plan.

How many examples it took is recorded with each test (``--junitxml``), and printed with ``-s``.
"""

from __future__ import annotations

import pytest

from faultkit import Verdict, strategies
from tests.helpers import defective_engines as engines
from tests.quality.conftest import EXAMPLES_MAX

pytestmark = pytest.mark.slow

FIRST = "storage.storage_meta"  # the first point of a save whose failure is reported
WRITE = "storage.write_data"
VALUE_ERROR = "raise(ValueError)"

# defect, verdict, smallest plan
PLAIN = [
    ("loses_the_highest_of_several_ranks", "MISATTRIBUTED", f"{FIRST}@0-1={VALUE_ERROR}"),
    ("names_the_next_rank", "MISATTRIBUTED", f"{FIRST}@0={VALUE_ERROR}"),
    ("names_the_coordinator_for_the_last", "MISATTRIBUTED", f"{FIRST}@2={VALUE_ERROR}"),
    (
        "keeps_one_of_two_different_errors",
        "MISATTRIBUTED",
        f"{FIRST}@0={VALUE_ERROR}; {FIRST}@1={VALUE_ERROR}",
    ),
    (
        "forgets_two_ranks_that_fail_without_the_coordinator",
        "MISATTRIBUTED",
        f"{FIRST}@1-2={VALUE_ERROR}",
    ),
    ("tells_another_step", "MISATTRIBUTED", f"{WRITE}@0={VALUE_ERROR}"),
    ("tells_only_the_coordinator", "PARTIAL", f"{WRITE}@0={VALUE_ERROR}"),
    ("last_rank_never_learns", "PARTIAL", f"{WRITE}@0={VALUE_ERROR}"),
    ("never_looks_into_the_future", "PARTIAL", f"{WRITE}:future@0={VALUE_ERROR}"),
    ("never_writes_on_rank_1", "INERT", f"{WRITE}@1={VALUE_ERROR}"),
    ("renames_every_error", "MASKED", f"{FIRST}@0={VALUE_ERROR}"),
    ("tells_at_the_timeout", "LATE", f"{FIRST}@1={VALUE_ERROR}"),
]

# defect, verdict, families of errors to look among, smallest action at the smallest place
BY_ERROR = [
    ("swallows_os_errors", "PARTIAL", ("plain", "errno"), f'{WRITE}@0=raise(OSError, "token-1")'),
    ("swallows_a_full_disk", "PARTIAL", ("plain", "errno"), f'{WRITE}@0=raise(OSError, ENOSPC, "token-1")'),
    (
        "swallows_what_stops_an_iteration",
        "PARTIAL",
        ("plain", "control_flow"),
        f'{WRITE}@0=raise(StopIteration, "token-1")',
    ),
    ("renames_lookup_errors", "MASKED", ("plain", "errno"), f'{FIRST}@0=raise(KeyError, "token-1")'),
    (
        "renames_what_does_not_pickle",
        "MASKED",
        ("plain", "chained", "unpicklable"),
        f'{FIRST}@0=raise(faultkit.hostile:HoldsLock, "token-1")',
    ),
    ("takes_groups_apart", "MASKED", ("plain", "group"), f'{FIRST}@0=raise(ExceptionGroup, "token-1")'),
    (
        "renames_what_is_no_exception",
        "MASKED",
        ("plain", "base"),
        f'{FIRST}@0=raise(KeyboardInterrupt, "token-1")',
    ),
    ("drops_error_numbers", "MASKED", ("plain", "errno"), f'{FIRST}@0=raise(OSError, ENOSPC, "token-1")'),
    (
        "prints_before_it_tells",
        "MASKED",
        ("plain", "huge", "unprintable"),
        f'{FIRST}@0=raise(faultkit.hostile:Unprintable, "token-1")',
    ),
    ("dies_of_a_memory_error", "DIED", ("plain", "errno"), f'{FIRST}@0=raise(MemoryError, "token-1")'),
]


def look(search, world, strategy, work, name, verdict):
    found = search(lambda plan: world.run(work, name, plan=plan).verdict is not Verdict.HELD)
    smallest = found.smallest(strategy)
    print(f"{name}: {found.until_found} examples, {found.examples} with shrinking: {smallest}")
    assert found.until_found <= EXAMPLES_MAX
    assert world.run(work, name, plan=smallest).verdict == verdict
    return str(smallest)


@pytest.mark.parametrize(("name", "verdict", "plan"), PLAIN, ids=lambda value: str(value))
def test_a_defect_of_telling_shrinks_to_the_fewest_and_lowest_ranks(search, worlds, name, verdict, plan):
    assert look(search, worlds(3), strategies.rank_failures(3), engines.save, name, verdict) == plan


def test_a_hang_shrinks_to_the_fewest_ranks_that_hang(search, simulated):
    # simulated: each example that hangs would cost new processes
    drawn = strategies.rank_failures(3)
    smallest = look(search, simulated, drawn, engines.save, "hangs_when_two_fail_at_once", "HUNG")
    assert smallest == f"{FIRST}@0-1={VALUE_ERROR}"


@pytest.mark.parametrize(("name", "verdict", "families", "plan"), BY_ERROR, ids=lambda value: str(value))
def test_a_defect_of_one_kind_of_error_shrinks_to_the_simplest_such_error(
    search, worlds, name, verdict, families, plan
):
    drawn = strategies.fault_plans(2, actions=strategies.exceptions(families=families))
    assert look(search, worlds(2), drawn, engines.save, name, verdict) == plan


def test_a_defect_of_loading_shrinks_to_the_first_step_that_has_it(search, worlds):
    drawn = strategies.rank_failures(3, op="load")
    name = "load_forgets_readers_but_the_first"
    smallest = look(search, worlds(3), drawn, engines.load, name, "PARTIAL")
    assert smallest == f"storage.read_data@1={VALUE_ERROR}"


def test_a_defect_of_the_next_attempt_shrinks_to_the_first_call(search, worlds):
    drawn = strategies.fault_plans(3, max_call=2)
    name = "cannot_save_after_a_failed_write"
    smallest = look(search, worlds(3), drawn, engines.save_twice, name, "UNUSABLE")
    assert smallest == f"{WRITE}@0#1={VALUE_ERROR}"


@pytest.fixture
def fails_to_reload(worlds, tmp_path):
    """Whether a pair, saved by the stock engine, comes back damaged from one with the defect."""

    def make(name):
        folders = (tmp_path / str(number) for number in range(10_000))

        def fails(pair):
            folder = next(folders)
            saved = worlds(pair.save_size).run(engines.save_state, pair, folder)
            saved.raise_for_violations()
            loaded = worlds(pair.load_size).run(engines.reload, pair, folder, name)
            loaded.raise_for_violations()
            return any(outcome.value for outcome in loaded.outcomes.values())

        return fails

    return make


STATES = [
    ("rounds_half_precision", "SaveLoadPair(1, 1, StateRecipe({'weight': Tensor((), 'bfloat16')}))"),
    ("loads_nothing_into_more_ranks", "SaveLoadPair(1, 2, StateRecipe({'weight': Tensor((), 'float32')}))"),
    (
        "takes_views_for_wholes",
        "SaveLoadPair(1, 1, StateRecipe({'weight': Tensor((2,), 'float32', 'strided')}))",
    ),
]


@pytest.mark.parametrize(("name", "pair"), STATES, ids=lambda value: str(value))
def test_a_defect_of_data_shrinks_to_the_smallest_state_in_the_smallest_world(
    search, fails_to_reload, name, pair
):
    found = search(fails_to_reload(name))
    smallest = found.smallest(strategies.save_load_pairs(max_world=2, max_size=3))
    print(f"{name}: {found.until_found} examples, {found.examples} with shrinking: {smallest}")
    assert repr(smallest) == pair


def test_a_defect_that_needs_two_ranks_shrinks_to_the_smallest_world_that_has_them(search, worlds):
    drawn = strategies.world_sizes(min_size=1, max_size=3).flatmap(
        lambda size: strategies.rank_failures(size).map(lambda plan: (size, plan))
    )
    name = "loses_the_highest_of_several_ranks"
    found = search(lambda one: worlds(one[0]).run(engines.save, name, plan=one[1]).verdict != "HELD")
    size, plan = found.smallest(drawn)
    assert (size, str(plan)) == (2, f"{FIRST}@0-1={VALUE_ERROR}")


def test_the_same_search_runs_the_same_plans(search, worlds):
    plans = []
    for _ in range(2):
        found = search(lambda plan: worlds(3).run(engines.save, "tells_another_step", plan=plan).violations)
        found.smallest(strategies.rank_failures(3))
        plans.append(list(found.seen))
    assert plans[0] == plans[1]
