"""`exceptions` and `faultkit.hostile`: each error does what it is for, and carries its token everywhere."""

from __future__ import annotations

import pickle

import hypothesis
import pytest
from hypothesis import find, given

from faultkit import FaultPlan, PlanError, Verdict, World, hostile, strategies
from faultkit.injection.errors import build, describe
from faultkit.plan.actions import Action
from faultkit.strategies.errors import ACTION_FAMILIES, ERROR_FAMILIES
from tests.helpers import defective_engines as engines

SETTINGS = hypothesis.settings(
    max_examples=1_000,
    phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
    derandomize=True,
    database=None,
    deadline=None,
)


def made(name, token="token-1"):
    action = Action("raise", {"exception": f"faultkit.hostile:{name}", "message": token})
    return build(action, f"writer.write_data@1={action}")


def travelled(error):
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("name", hostile.NAMES)
def test_every_hostile_exception_stands_in_a_plan_without_an_allow_list(name):
    import torch.distributed.checkpoint  # noqa: F401  as on a rank: the type of its own exception

    plan = FaultPlan.parse(f'writer.write_data@1=raise(faultkit.hostile:{name}, "token-1")')
    assert FaultPlan.from_json(plan.to_json()) == plan
    assert "allow" not in repr(plan)
    error = build(plan.faults[0].action, str(plan))
    assert isinstance(error, BaseException)
    record = describe(error)
    assert record.type_name == name
    assert any("token-1" in text for text in (record.message, *record.notes))


def test_one_that_there_is_not_is_refused_with_the_nearest():
    with pytest.raises(PlanError, match=r"did you mean 'faultkit\.hostile:HoldsLock'"):
        FaultPlan.parse("writer.write_data=raise(faultkit.hostile:HoldLock)")
    with pytest.raises(PlanError, match="unknown exception type"):
        FaultPlan.parse("writer.write_data=raise(faultkit.hostile:threading.BrokenBarrierError)")


@pytest.mark.parametrize("name", ["HoldsLock", "HoldsSocket", "HoldsGenerator", "Unreducible"])
def test_some_do_not_pickle(name):
    with pytest.raises((TypeError, ZeroDivisionError)):
        pickle.dumps(made(name))


@pytest.mark.parametrize("name", ["NeedsMore", "WrongShape"])
def test_some_pickle_and_do_not_unpickle(name):
    data = pickle.dumps(made(name))
    with pytest.raises((TypeError, LookupError)):
        pickle.loads(data)


def test_a_chain_is_there_until_it_is_pickled():
    for name, read in (("Chained", lambda e: e.__cause__), ("InContext", lambda e: e.__context__)):
        error = made(name)
        assert "token-1" in str(read(error))
        assert read(travelled(error)) is None
        assert str(travelled(error)) == "token-1"


def test_groups_notes_and_a_megabyte_travel():
    group = travelled(made("Grouped"))
    assert [type(member) for member in group.exceptions] == [ValueError, ExceptionGroup]
    assert any("token-1" in note for note in travelled(made("Noted")).__notes__)
    assert len(str(travelled(made("Huge")))) == len("token-1 ") + hostile.HUGE_CHARACTERS


def test_one_cannot_be_printed():
    error = made("Unprintable")
    for show in (str, repr):
        with pytest.raises(RuntimeError):
            show(error)


def test_exceptions_shrink_to_a_plain_value_error_and_each_family_to_its_first():
    def simplest(**arguments):
        return str(find(strategies.exceptions(**arguments), lambda _: True, settings=SETTINGS))

    assert simplest() == "raise(ValueError)"
    assert simplest(families="errno") == 'raise(OSError, ENOSPC, "token-1")'
    assert simplest(families="base") == 'raise(KeyboardInterrupt, "token-1")'
    assert simplest(families=["unloadable", "chained"]) == 'raise(faultkit.hostile:Chained, "token-1")'


@given(strategies.fault_plans(3, actions=strategies.exceptions(), min_faults=2, max_faults=4))
def test_every_error_of_a_plan_has_a_token_of_its_own(plan):
    tokens = [f.action.get("message", str(f)) for f in plan]
    assert len(set(tokens)) == len(tokens)


def test_all_families_are_drawn():
    seen = set()

    @hypothesis.settings(SETTINGS)
    @given(strategies.actions())
    def draw(action):
        seen.add(str(action).split(', "token')[0])

    draw()
    assert {"raise(ValueError)", "raise(OSError, ENOSPC", "delay(0.1)", "kill(SIGKILL)", "hang"} <= seen
    assert {f"raise(faultkit.hostile:{name}" for name in hostile.NAMES} <= seen
    assert set(ERROR_FAMILIES) < set(ACTION_FAMILIES)


# What the stock engine makes of them, told once here: it cannot gather what does not pickle.
STOCK = {
    "Chained": "HELD",
    "Noted": "HELD",
    "Grouped": "HELD",
    "Empty": "HELD",
    "CancelledError": "HELD",
    "Huge": "HELD",
    "HoldsLock": "HUNG",
    "NeedsMore": "HUNG",
}


@pytest.fixture(scope="module")
def pair_of_ranks():
    with World(2, timeout=20.0) as world:
        yield world


@pytest.mark.parametrize(("name", "verdict"), STOCK.items())
def test_the_cause_is_followed_to_every_rank(pair_of_ranks, name, verdict):
    plan = f'storage.write_data@1=raise(faultkit.hostile:{name}, "token-1")'
    run = pair_of_ranks.run(engines.save, plan=plan)
    assert run.fired
    assert run.verdict == Verdict(verdict), run.story()
