import pytest

from faultkit.checks import examine
from tests.helpers.finished_runs import Recording

HERE = [[0], [4]]


def saved(leaves_by_rank, *, ok=True, path="/a", group=None, of_rank=None):
    """A save of which each rank tells what it gave."""
    recording = Recording(size=4)
    for rank, leaves in leaves_by_rank.items():
        recording.begin([rank])
        recording.event(rank, "content", attempt=1, path=path, group=group, of_rank=of_rank, leaves=leaves)
    for rank in leaves_by_rank:
        recording.event(rank, "attempt_end", op="save", attempt=1, ok=ok)
    return recording.run()


def found(run):
    return [(str(one.verdict), one.evidence, one.ranks) for one in examine(run, "replicas")]


def test_one_value_for_all_ranks_holds():
    leaves = {"weight": [[*HERE, "x"]], "rate": [[None, None, "y"]]}
    assert found(saved(dict.fromkeys(range(4), leaves))) == []


def test_what_ranks_give_under_one_name_and_is_not_the_same_is_told_with_who_has_what():
    values = ("x", "x", "z", "x")
    run = saved({rank: {"weight": [[*HERE, value]]} for rank, value in enumerate(values)})
    evidence = "save 1 stores one value of 'weight' for all ranks, of which ranks 0, 1, 3 have one and rank 2 another"
    assert found(run) == [("SILENT_WRONG", evidence, (2,))]


def test_where_nobody_is_more_right_all_are_told():
    run = saved({rank: {"rng": [[None, None, str(rank)]]} for rank in range(4)})
    [(_, evidence, ranks)] = found(run)
    assert ranks == (0, 1, 2, 3) and "rank 0 has one and rank 1 another" in evidence


@pytest.mark.parametrize(
    "run",
    [
        saved({rank: {"rows": [[[rank], [1], str(rank)]]} for rank in range(4)}),
        saved({rank: {f"rng.{rank}": [[None, None, str(rank)]]} for rank in range(4)}),
        saved({rank: {"rng": [[None, None, str(rank)]]} for rank in range(4)}, ok=False),
        saved({rank: {"rng": [[None, None, str(rank)]]} for rank in range(4)}, of_rank=1),
        saved({0: {"rng": [[None, None, "0"]]}, 1: None}),
    ],
    ids=["parts", "names of their own", "a save that failed", "saves of each rank", "untold"],
)
def test_what_is_no_replica_holds(run):
    assert found(run) == []


def test_groups_of_ranks_save_for_themselves():
    halves = {rank: {"weight": [[*HERE, str(rank // 2)]]} for rank in range(4)}
    recording = Recording(size=4)
    for rank, leaves in halves.items():
        group = [0, 1] if rank < 2 else [2, 3]
        recording.begin([rank], group=group)
        told = {"attempt": 1, "path": "/a", "group": group, "of_rank": None}
        recording.event(rank, "content", leaves=leaves, **told).end([rank])
    assert found(recording.run()) == []
    assert len(found(saved(halves))) == 1
