"""The parts of the injection that few plans need are named by the plan, and loaded before anything is in force."""

from __future__ import annotations

import sys

import pytest

from faultkit import FaultPlan, World
from faultkit.injection import parts
from faultkit.processes import client

NEEDED = {
    "": (),
    "writer.write_data@0=raise(OSError, ENOSPC); clock.millisecond#5=exit": (),
    "writer.write_data(child)=kill": (parts.CHILDREN,),
    "fs.fsync=delay(0)": (parts.FILES, parts.STREAMS, parts.FUNCTION_CALLS),
    "torch.save=raise(OSError)": (parts.FUNCTION_CALLS,),
    "call.mine:save=raise(OSError)": (parts.FUNCTION_CALLS,),
    "http.put=status(503)": (parts.REQUESTS,),
    "reader.read_metadata=shorten": (parts.VALUES,),
}


@pytest.mark.parametrize("plan", NEEDED)
def test_a_plan_needs_what_carries_out_its_faults_and_nothing_else(plan):
    assert parts.modules_of(FaultPlan.parse(plan)) == NEEDED[plan]


def test_each_part_is_needed_by_some_plan_and_is_there():
    parts.load_all()

    assert {name for needed in NEEDED.values() for name in needed} == set(parts.PARTS) <= set(sys.modules)


def test_the_fork_server_loads_them_once_for_all_ranks_of_a_run(monkeypatch):
    asked, preload = [], client.ForkServer.preload
    monkeypatch.setattr(
        client.ForkServer, "preload", lambda self, names: asked.extend(names) or preload(self, names)
    )
    with World(1, kind="fresh", backend="") as world:
        run = world.run(_loaded, plan="fs.fsync=delay(0)", may_not_fire=True)

    assert set(NEEDED["fs.fsync=delay(0)"]) <= set(asked) and run.outcomes[0].value == []


def _loaded():
    """Which parts of a plan of files this rank has had to look for by itself."""
    return [name for name in (parts.FILES, parts.STREAMS, parts.FUNCTION_CALLS) if name not in sys.modules]
