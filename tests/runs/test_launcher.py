"""A launcher ends the ranks of which one has failed, on every kind of world alike, and hides no hang but theirs."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import Died, Returned, Verdict, World

DEADLINE_SECONDS = 30.0
AT_ONCE_SECONDS = 5.0
KINDS = ("warm", "simulated")


@pytest.fixture(scope="module")
def kept():
    """Worlds of three ranks of each kind, kept by torchrun."""
    worlds = {kind: World(3, kind=kind, launcher="torchrun") for kind in KINDS}
    yield worlds
    for world in worlds.values():
        world.close()


def on_every_kind(kept, function, **kwargs):
    """The runs by kind, in each of which ranks came to the same."""
    runs = {kind: world.run(function, timeout=DEADLINE_SECONDS, **kwargs) for kind, world in kept.items()}
    told = {kind: (str(run.verdict), run.outcomes) for kind, run in runs.items()}
    assert all(one == told["warm"] for one in told.values()), told
    return runs


def wait_in_vain():
    """For a message that nobody sends: no connection breaks whoever ends."""
    dist.recv(torch.ones(1), src=2)


def waits_while_one(ends):
    def function():
        if dist.get_rank() == 1:
            ends()
        if dist.get_rank() == 0:
            wait_in_vain()
        return dist.get_rank()

    return function


ENDED = Died(signal="SIGTERM", by="launcher", waiting="in recv, for rank 2, which returned")
FAILURES = {
    "os._exit(7)": lambda: os._exit(7),
    "sys.exit(7)": lambda: sys.exit(7),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def test_new_ranks_for_every_run_are_ended_too():
    with World(3, kind="fresh", launcher="torchrun") as world:
        run = world.run(waits_while_one(FAILURES["SIGKILL"]), timeout=DEADLINE_SECONDS)
    assert run.outcomes == {0: ENDED, 1: Died(signal="SIGKILL"), 2: Returned(2)}


@pytest.mark.parametrize("failure", FAILURES)
def test_who_waits_is_ended_once_nobody_can_go_on(kept, failure):
    runs = on_every_kind(kept, waits_while_one(FAILURES[failure]))

    for run in runs.values():
        assert (run.outcomes[0], run.outcomes[2]) == (ENDED, Returned(2))
        assert isinstance(run.outcomes[1], Died) and run.outcomes[1].by == ""
        assert run.verdict is Verdict.DIED and run.violations[0].ranks == (1,)  # of it alone
        assert run.seconds < AT_ONCE_SECONDS and run.launcher == "torchrun"
        assert "rank 0: was ended by the launcher, waiting in recv" in run.story()


def save(directory):
    dcp.save({"w": torch.ones(8)}, checkpoint_id=directory)


def test_the_peers_of_a_rank_that_a_plan_ends_are_no_violation(kept, tmp_path):
    for kind, world in kept.items():
        plan = "writer.reset@1=kill(SIGKILL)"
        run = world.run(save, tmp_path / kind, plan=plan, timeout=DEADLINE_SECONDS)

        assert run.outcomes[1] == Died(signal="SIGKILL"), kind
        assert all(outcome.kind in ("died", "raised") for outcome in run.outcomes.values())
        assert (run.verdict, run.violations) == (Verdict.HELD, ())


def test_an_error_that_leaves_the_function_ends_nobody(kept, tmp_path):
    for kind, world in kept.items():
        plan = "writer.reset@1=raise(ValueError)"
        run = world.run(save, tmp_path / kind, plan=plan, timeout=DEADLINE_SECONDS)

        assert [outcome.kind for outcome in run.outcomes.values()] == ["hung", "raised", "hung"], kind
        assert run.verdict is Verdict.HUNG


def test_a_rank_that_leaves_after_its_error_has_failed(kept, tmp_path):
    for kind, world in kept.items():
        plan = "app.state_dict@1=raise(ValueError, leave)"
        run = world.run(save_application, tmp_path / kind, plan=plan, timeout=DEADLINE_SECONDS)

        assert run.outcomes[1].kind == "raised", kind
        assert "hung" not in {outcome.kind for outcome in run.outcomes.values()}


class Application:
    def state_dict(self):
        return {"step": torch.ones(1)}

    def load_state_dict(self, state):
        pass


def save_application(directory):
    dcp.save({"application": Application()}, checkpoint_id=directory)


def test_a_rank_that_ends_with_status_0_has_not_failed(kept):
    runs = on_every_kind_by_kind(kept, waits_while_one(lambda: os._exit(0)))

    assert all(kinds == ["hung", "died", "returned"] for kinds in runs.values()) and len(runs) == len(KINDS)


def on_every_kind_by_kind(kept, function):
    return {
        kind: [one.kind for one in world.run(function, timeout=DEADLINE_SECONDS).outcomes.values()]
        for kind, world in kept.items()
    }


def test_without_a_launcher_who_waits_hangs(three):
    run = three.run(waits_while_one(lambda: os._exit(7)), timeout=DEADLINE_SECONDS)

    assert [outcome.kind for outcome in run.outcomes.values()] == ["hung", "died", "returned"]
    assert run.launcher == "none"


def test_a_handler_of_the_signal_runs_and_what_does_not_end_of_it_is_killed(kept):
    def handles():
        def leave(*_):
            sys.exit(3)

        if dist.get_rank() == 1:
            os._exit(7)
        signal.signal(signal.SIGTERM, leave if dist.get_rank() == 0 else signal.SIG_IGN)
        threading.Event().wait()

    for run in on_every_kind(kept, handles).values():
        assert run.outcomes[0].exitcode == 3 and run.outcomes[2].signal == "SIGKILL"
        assert run.outcomes[0].by == run.outcomes[2].by == "launcher"


def test_the_ranks_after_an_ended_job_are_whole(kept):
    assert kept["warm"].run(dist.get_rank).verdict is Verdict.HELD


@pytest.mark.parametrize("launcher", ["slurm", "", None, 1])
def test_another_launcher_is_refused(launcher):
    with pytest.raises(
        ValueError, match=r"World: launcher must be one of none, torchrun \(got .*\); nearest is"
    ):
        World(2, launcher=launcher)
