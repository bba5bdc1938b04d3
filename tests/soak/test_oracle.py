"""Random plans of every layer and action on four ranks: no verdict that the oracle contradicts.

The short form runs with the suite; `-m soak` runs 1,000 plans, or as many as SOAK_PLANS says.
"""

from __future__ import annotations

import collections
import os
import time
import warnings
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import Returned, Verdict, World
from tests.helpers import oracle

pytestmark = pytest.mark.slow

SHORT_COUNT = 6
LONG_COUNT = int(os.environ.get("SOAK_PLANS") or 1_000)
DEADLINE_SECONDS = 60.0
CERTAIN_SECONDS_MAX = 5.0  # of a hang that is proven


class Counter:
    def __init__(self, value):
        self.value = torch.full((1,), value)

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def state(value):
    return {
        "weight": torch.full((4000,), value),
        f"own of {dist.get_rank()}": torch.full((500,), value),
        "counter": Counter(value),
        "step": 7,
    }


def save(directory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state(1.0), checkpoint_id=directory)


def load(directory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(state(0.0), checkpoint_id=directory)


def planned_seconds(run):
    """How long the plan itself held up the rank that it held up longest: ``stop(0.05)`` at each of 77 reads is 4 s."""
    held = collections.Counter()
    for fired in run.fired:
        given = dict(fired.fault.action.parameters)
        seconds = given.get("seconds") or given.get("resume_seconds")
        held[fired.rank] += float(seconds or 0)
    return max(held.values(), default=0.0)


def soak(seeds, folder):
    """Gives the contradictions by plan, how often each verdict was met, and the seconds of each certain hang.

    Those for which the plan held ranks up are not counted.
    """
    wrong, verdicts, hangs = {}, collections.Counter(), []
    with World(oracle.SIZE, timeout=DEADLINE_SECONDS) as world:
        saved = folder / "saved"
        assert world.run(save, saved).verdict is Verdict.HELD
        for seed in seeds:
            op = "save" if seed % 2 else "load"
            place = folder / f"run-{seed}" if op == "save" else saved
            plan = oracle.random_plan(seed, op)
            function = save if op == "save" else load
            at = {"checkpoint_at": place} if op == "save" else {}
            if op == "save":
                place.mkdir()
            run = world.run(function, place, plan=plan, may_not_fire=True, **at)
            verdicts[str(run.verdict)] += 1
            if run.verdict is Verdict.HUNG:
                hangs.append(run.seconds - planned_seconds(run))
            print(f"{seed} {op} {run.verdict} {run.seconds:.1f} s  {plan}", flush=True)
            if found := oracle.contradictions(run):
                print(f"  contradicted: {found}", flush=True)
                wrong[f"{seed}, a {op}: {plan}"] = (found, run.story())
    return wrong, verdicts, hangs


def told(wrong):
    return "\n\n".join(f"{plan}\n  {found}\n{story}" for plan, (found, story) in wrong.items())


def test_no_verdict_is_contradicted(tmp_path):
    wrong, verdicts, _ = soak(range(SHORT_COUNT), tmp_path)
    assert not wrong, told(wrong)
    assert len(verdicts) > 1


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_no_verdict_of_1000_plans_is_contradicted(tmp_path):
    started = time.monotonic()
    wrong, verdicts, hangs = soak(range(10_000, 10_000 + LONG_COUNT), tmp_path)
    print(
        f"{LONG_COUNT} plans in {time.monotonic() - started:.0f} s: {dict(verdicts)}; contradicted: {len(wrong)}; "
        f"hangs of more than {CERTAIN_SECONDS_MAX:g} s: {sum(one > CERTAIN_SECONDS_MAX for one in hangs)}, "
        f"longest {max(hangs, default=0):.1f} s"
    )
    assert not wrong, told(wrong)


def test_the_oracle_contradicts_what_is_wrong(tmp_path):
    with World(oracle.SIZE) as world:

        def judged(plan, verdict):
            (tmp_path / verdict).mkdir(exist_ok=True)
            run = world.run(save, tmp_path / verdict, plan=plan)
            assert oracle.contradictions(run) == []
            said = SimpleNamespace(verdict=Verdict(verdict), fired=run.fired, outcomes=run.outcomes)
            return oracle.contradictions(said)

        told = "writer.write_data@1=raise(ValueError)"
        assert judged(told, "PARTIAL") and judged(told, "HUNG") and judged(told, "UNUSABLE")
        assert judged(told, "LOST_WORK") and not judged(told, "HELD")
        assert judged("writer.validate_checkpoint_id@1=raise(ValueError)", "HELD"), "which hangs the others"
        assert judged("writer.write_data@1=delay(0)", "MASKED")
        run = world.run(save, tmp_path / "HELD", plan="")
        run.outcomes[2] = world.run(load, tmp_path / "nowhere").outcomes[2]
        assert oracle.contradictions(run)
        assert run.outcomes[0] == Returned(None)
