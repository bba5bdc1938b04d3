"""Random plans that kill, stop, hang, raise and exit, on four ranks: every fate follows from what fired.

The short form runs with the suite; `-m soak` runs 500 plans.
"""

from __future__ import annotations

import collections
import random
import time

import psutil
import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import FaultPlan, FaultyStorageWriter, Returned, Verdict, World

pytestmark = pytest.mark.slow

SIZE = 4
SHORT_COUNT = 8
LONG_COUNT = 500
DEADLINE_SECONDS = 60.0
GONE_SECONDS_MAX = 15.0

POINTS = """
    app.state_dict comm.broadcast_object comm.gather_object comm.scatter_object
    planner.create_global_plan planner.create_local_plan planner.finish_plan planner.set_up_planner
    writer.finish writer.prepare_global_plan writer.prepare_local_plan writer.reset
    writer.set_up_storage_writer writer.write_data writer.write_data:future
""".split()
ENDS = {
    **{f"kill({name})": (name, None) for name in ("SIGKILL", "SIGTERM", "SIGABRT", "SIGUSR1")},
    **{f"exit({status})": (None, status) for status in (0, 1, 7)},
    "segfault": ("SIGSEGV", None),
}
FREEZES = ["hang", "hang(native)", "stop", "kill(SIGSTOP)"]
ERRORS = [
    "raise(ValueError)",
    "raise(OSError, ENOSPC)",
    "raise(KeyboardInterrupt)",
    "raise(ValueError, leave)",
    "raise(MemoryError)",
]
DELAYS = ["delay(0.05)", "delay(0.4)", "stop(0.05)", "stop(0.4)"]


class Counter:
    def __init__(self):
        self.value = torch.zeros(1)

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def save():
    state = {"weight": torch.ones(4), "counter": Counter()}
    dcp.save(state, checkpoint_id="nowhere", storage_writer=FaultyStorageWriter(FaultPlan()))
    return dist.get_rank()


def random_plan(seed):
    """One to three faults, at most one for each rank."""
    chance = random.Random(seed)
    faults = []
    for rank in chance.sample(range(SIZE), chance.choice([1, 1, 1, 2, 3])):
        point = chance.choice(POINTS)
        if ":" not in point and chance.random() < 0.3:
            point += ":after"
        action = chance.choice(chance.choice([list(ENDS), FREEZES, ERRORS, DELAYS]))
        faults.append(f"{point}@{rank}#1={action}")
    return FaultPlan.parse("; ".join(faults))


def mistakes(run):
    """What in this run does not follow from what fired."""
    found = []
    fired = {one.rank: str(one.fault.action) for one in run.fired}
    only_late = all(action in DELAYS for action in fired.values())
    if run.seconds >= DEADLINE_SECONDS:
        found.append("the deadline passed")
    if run.verdict is Verdict.DIED:
        found.append("a death is unexplained")
    for rank, outcome in run.outcomes.items():
        action = fired.get(rank)
        kind = outcome.kind
        if only_late and outcome != Returned(rank):
            found.append(f"rank {rank} {kind} for nothing: {outcome}")
        if (kind == "died") != (action in ENDS) and not (kind == "died" and "leave" in str(action)):
            found.append(f"rank {rank} {kind} of {action}")
        if kind == "died" and action in ENDS and (outcome.signal, outcome.exitcode) != ENDS[action]:
            found.append(f"rank {rank} died otherwise than by {action}: {outcome}")
        if action in FREEZES and kind != "hung" and "future" not in str(run.plan):
            found.append(f"rank {rank} came back from {action}: {outcome}")
        if kind == "hung" and "File " not in outcome.stack:
            found.append(f"rank {rank} hung without a stack")
        if kind == "hung" and action not in FREEZES and not outcome.waiting and "future" not in str(run.plan):
            found.append(f"rank {rank} hung without a reason")
    return found


def soak(seeds):
    """Runs the plans in one warm world; gives the mistakes by plan, and how often each verdict was met."""
    wrong, verdicts = {}, collections.Counter()
    before = set(processes_of_worlds())  # worlds that other tests of this process keep warm
    with World(SIZE, timeout=DEADLINE_SECONDS) as world:
        for seed in seeds:
            run = world.run(save, plan=random_plan(seed), may_not_fire=True)
            verdicts[run.verdict.value] += 1
            if found := mistakes(run):
                wrong[f"{seed}: {run.plan}"] = (found, run.outcomes)
            if seed % 10 == 0:
                healthy = world.run(dist.get_rank).outcomes
                if healthy != {rank: Returned(rank) for rank in range(SIZE)}:
                    wrong[f"after {seed}: {run.plan}"] = healthy
        world.prepare()
        ranks = set(processes_of_worlds()) - before
        assert len(ranks) >= SIZE
    _, left = psutil.wait_procs(ranks, timeout=GONE_SECONDS_MAX)
    assert not left and not set(processes_of_worlds()) - before
    return wrong, verdicts


def processes_of_worlds():
    """The ranks of all worlds of this process, and what they started."""
    servers = [p for p in psutil.Process().children() if "faultkit.processes.server" in p.cmdline()]
    return [process for server in servers for process in server.children(recursive=True)]


def test_every_fate_follows_from_what_fired():
    wrong, verdicts = soak(range(SHORT_COUNT))

    assert wrong == {}
    assert verdicts[Verdict.HELD] and verdicts[Verdict.HUNG]


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_every_fate_of_500_plans_follows_from_what_fired():
    started = time.monotonic()
    wrong, verdicts = soak(range(1000, 1000 + LONG_COUNT))

    print(
        f"{LONG_COUNT} plans in {time.monotonic() - started:.0f} s: {dict(verdicts)}; mistakes: {len(wrong)}"
    )
    assert wrong == {}


def test_the_judge_of_this_file_sees_a_wrong_signal_and_a_false_alarm():
    with World(SIZE) as world:
        run = world.run(save, plan="writer.write_data@1#1=kill(SIGTERM)")
        assert mistakes(run) == []
        run.outcomes[1] = Returned(1)
        assert mistakes(run) == ["rank 1 returned of kill(SIGTERM)"]
        slow = world.run(save, plan="writer.write_data@1#1=delay(0.05)")
        assert mistakes(slow) == []
        slow.outcomes[0] = run.outcomes[0]
        assert any("rank 0 raised for nothing" in one for one in mistakes(slow))
