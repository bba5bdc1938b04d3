"""The check `parity`: each rank's sequence of collectives, on real ranks and on simulated ones, and on values."""

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import World
from faultkit.checks import examine
from tests.helpers.finished_runs import Recording


@pytest.fixture(scope="module", params=["warm", "simulated"])
def both(request):
    with World(2, kind=request.param) as world:
        yield world


def decides_by_its_own_loss(directory, sound):
    loss = torch.tensor(0.25 if dist.get_rank() == 0 else 0.75)
    if sound:
        dist.broadcast(loss, src=0)
    if loss.item() < 0.5:
        dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)


def gathers_what_another_broadcasts(directory, sound):
    value = torch.ones(4)
    if sound or dist.get_rank() == 0:
        dist.all_gather([torch.zeros(4), torch.zeros(4)], value)
    else:
        dist.broadcast(value, src=0)


def adds_what_another_takes_the_most_of(directory, sound):
    dist.barrier()
    dist.all_reduce(torch.ones(4), dist.ReduceOp.SUM if sound or dist.get_rank() else dist.ReduceOp.MAX)


def enters_two_groups_in_any_order(directory, sound):
    groups = [dist.new_group([0, 1]), dist.new_group([0, 1])]
    for group in groups if sound or dist.get_rank() == 0 else reversed(groups):
        dist.barrier(group)


def leaves_a_subgroup_alone(directory, sound):
    some = dist.new_group([0, 1])
    if sound or dist.get_rank() == 0:
        dist.all_reduce(torch.ones(2), group=some)


def speaks_in_part_of_the_world(directory, sound):
    """All that is not the same on every rank, and may not be."""
    alone = [dist.new_group([0]), dist.new_group([1])][dist.get_rank()]
    for _ in range(1 + dist.get_rank()):
        dist.all_reduce(torch.ones(2), group=alone)
    rank, zero = dist.get_rank(), torch.zeros(3)
    dist.scatter(zero, [torch.ones(3)] * 2 if rank == 0 else None, src=0)
    dist.gather(zero, [torch.zeros(3), torch.zeros(3)] if rank == 1 else None, dst=1)
    dist.gather_object({"rank": rank, "more": "x" * 100 * rank}, [None, None] if rank == 0 else None)
    dist.broadcast_object_list(["x" * 100] if rank == 0 else [None], src=0)
    dist.scatter_object_list([None], ["a", "bb"] if rank == 0 else None, src=0)
    dist.all_to_all_single(
        torch.zeros(3), torch.ones(3), [1, 2] if rank else [2, 1], [1, 2] if rank else [2, 1]
    )
    if rank == 0:
        dist.send(zero, 1)
    else:
        dist.recv(zero, 0)


PLANTED = {
    decides_by_its_own_loss: ("HUNG", "returned without it", "test_parity.py"),
    gathers_what_another_broadcasts: ("HUNG", "allgather", "broadcast"),
    adds_what_another_takes_the_most_of: ("SILENT_WRONG", "op MAX", "op SUM"),
    enters_two_groups_in_any_order: ("HUNG", "each waits for the other", "test_parity.py"),
    leaves_a_subgroup_alone: ("HUNG", "returned without it", "allreduce"),
}


@pytest.mark.parametrize("work", PLANTED, ids=lambda work: work.__name__)
def test_the_first_collective_that_is_not_the_same_is_told_with_both_lines(both, tmp_path, work):
    run = both.run(work, tmp_path, False)
    [found] = [one for one in run.violations if one.check == "parity"]
    verdict, *words = PLANTED[work]
    assert found.verdict == verdict, run.story()
    assert all(word in found.evidence for word in words), found.evidence
    assert work.__name__ in found.evidence


@pytest.mark.parametrize("work", [*PLANTED, speaks_in_part_of_the_world], ids=lambda work: work.__name__)
def test_the_same_with_every_rank_alike_holds(both, tmp_path, work):
    assert both.run(work, tmp_path, True).verdict == "HELD"


def test_the_engine_and_its_caller_are_both_named(both, tmp_path):
    run = both.run(decides_by_its_own_loss, tmp_path, False)
    [found] = [one for one in run.violations if one.check == "parity"]
    assert "of step 'plan'" in found.evidence and "state_dict_saver.py" in found.evidence


def fails_and_goes_on_elsewhere(directory):
    try:
        dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)
    except BaseException:
        if dist.get_rank() == 1:
            raise


@pytest.mark.parametrize(
    "plan",
    [
        "writer.write_data@1=raise(OSError)",
        "writer.reset@1=raise(OSError)",
        "writer.prepare_local_plan@1=kill",
    ],
)
def test_what_follows_from_a_fault_is_no_divergence(both, tmp_path, plan):
    run = both.run(fails_and_goes_on_elsewhere, tmp_path, plan=plan)
    assert run.fired and not [one for one in run.violations if one.check == "parity"]


def raises_by_itself(directory):
    if dist.get_rank() == 1:
        raise LookupError("of its own")
    dist.barrier()


def test_a_rank_that_raised_owes_no_call(both, tmp_path):
    run = both.run(raises_by_itself, tmp_path)
    assert not [one for one in run.violations if one.check == "parity"]


def test_nothing_is_recorded_where_nobody_asks(both, tmp_path):
    asked, unasked = (
        [event.kind for event in both.run(decides_by_its_own_loss, tmp_path, True, **how).events]
        for how in ({}, {"no_check": "parity"})
    )
    assert "collective" in asked and "collective" not in unasked


# -- on values -----------------------------------------------------------------------------------------------


def called(recording, rank, **data):
    return recording.event(
        rank, "collective", **{"group": "0", "ranks": [0, 1], "line": "", "engine": "", **data}
    )


def test_a_divergence_after_what_broke_something_is_not_told():
    recording = Recording("writer.write_data@1=raise(OSError)", 2)
    called(recording, 0, call="allreduce")
    called(recording, 1, call="allreduce")
    recording.fire(1)
    called(recording, 0, call="allreduce")
    called(recording, 1, call="broadcast")
    assert examine(recording.run(), "parity") == ()
    before = Recording("writer.write_data@1=raise(OSError)", 2)
    called(before, 0, call="allreduce")
    called(before, 1, call="broadcast")
    before.fire(1)
    assert [one.ranks for one in examine(before.run(), "parity")] == [(0, 1)]


def test_what_helper_threads_still_owe_at_the_end_is_no_divergence():
    recording = Recording("", 2)
    called(recording, 0, call="allreduce", helper=True)
    assert examine(recording.run(), "parity") == ()
    main = called(Recording("", 2), 0, call="allreduce")
    assert len(examine(main.run(), "parity")) == 1


def test_calls_beyond_what_is_recorded_are_not_missed():
    recording = Recording("", 2)
    called(recording, 0, call="allreduce")
    recording.event(1, "collectives_cut", count=2000)
    assert examine(recording.run(), "parity") == ()
