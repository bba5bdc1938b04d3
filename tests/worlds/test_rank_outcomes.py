"""Whatever a function does on a rank, the caller learns it: its value, its exception, its end."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
import traceback

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import Died, Raised, Returned, World
from faultkit.runs.outcomes import Untransportable
from tests.helpers.own_files import files_told


class OfThisModule(Exception):
    """An error that a caller can catch by its class."""


class NeedsTwoArguments(Exception):
    """Pickles, and cannot be unpickled: what it keeps is not what it was called with."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class RefusesPickling(Exception):
    def __reduce__(self):
        raise RuntimeError("no reduction")


class LeavesWhenUnpickled(Exception):
    def __reduce__(self):
        return sys.exit, (9,)


def _raise(error):
    raise error


def outcome_of(world, function, *args):
    """The outcome of rank 1, after the other ranks returned."""
    run = world.run(lambda: function(*args) if dist.get_rank() == 1 else None)
    assert run.outcomes[0] == Returned(None)
    return run.outcomes[1]


# -- values --------------------------------------------------------------------------------------


def test_every_rank_returns_its_own_value(three):
    run = three.run(lambda: (dist.get_rank(), dist.get_world_size()))

    assert run.outcomes == {rank: Returned((rank, 3)) for rank in range(3)}


def test_a_closure_with_arguments_runs_on_ranks(pair):
    factor = 7

    def scaled(number, *, plus=0):
        return number * factor + plus

    assert pair.run(scaled, 2, plus=1).outcomes == {0: Returned(15), 1: Returned(15)}


def test_a_local_class_goes_there_and_back(pair):
    class Point:
        def __init__(self, x):
            self.x = x

    run = pair.run(lambda point: Point(point.x + dist.get_rank()), Point(3))

    assert [(type(run.outcomes[rank].value), run.outcomes[rank].value.x) for rank in (0, 1)] == [
        (Point, 3),
        (Point, 4),
    ]


def test_a_tensor_comes_back_bit_for_bit(pair):
    run = pair.run(lambda: torch.arange(5, dtype=torch.float64) / 3)

    assert torch.equal(run.outcomes[1].value, torch.arange(5, dtype=torch.float64) / 3)


def test_a_value_larger_than_any_buffer_comes_back_whole(pair):
    run = pair.run(lambda: os.urandom(1) * (16 << 20))

    assert {len(outcome.value) for outcome in run.outcomes.values()} == {16 << 20}


def test_a_value_that_cannot_be_pickled_is_described(pair):
    outcome = outcome_of(pair, lambda: threading.Lock())

    assert isinstance(outcome.value, Untransportable)
    assert outcome.value.type_name == "lock" and "cannot pickle" in outcome.value.reason


def test_a_value_that_cannot_be_unpickled_is_described(pair):
    outcome = outcome_of(pair, lambda: LeavesWhenUnpickled())

    assert isinstance(outcome.value, Untransportable) and "SystemExit" in outcome.value.reason


# -- exceptions ----------------------------------------------------------------------------------


def test_an_exception_comes_back_with_type_message_and_object(pair):
    outcome = outcome_of(pair, lambda: _raise(OfThisModule("what happened")))

    assert isinstance(outcome, Raised)
    assert (outcome.type_name, outcome.message) == ("OfThisModule", "what happened")
    assert type(outcome.exception) is OfThisModule and outcome.exception.args == ("what happened",)


def test_a_local_exception_class_keeps_its_identity(pair):
    class Local(Exception):
        pass

    def fails():
        raise Local("here")

    with pytest.raises(Local, match="here"):
        raise outcome_of(pair, fails).exception


def test_the_traceback_leads_to_the_line_on_the_rank(pair):
    outcome = outcome_of(pair, _raise, KeyError("k"))

    frames = traceback.extract_tb(outcome.exception.__traceback__)
    assert (frames[-1].name, frames[-1].filename) == ("_raise", __file__)
    assert "in _raise" in outcome.traceback_text and "raise error" in outcome.traceback_text
    assert outcome.traceback_text.rstrip().endswith("KeyError: 'k'")


def test_the_traceback_of_a_local_function_shows_its_line(pair):
    def fails():
        def within():
            raise KeyError("k")  # this line

        within()

    outcome = outcome_of(pair, fails)

    assert 'raise KeyError("k")  # this line' in outcome.traceback_text
    (frame,) = traceback.extract_tb(outcome.exception.__traceback__)[-1:]
    assert (frame.name, frame.filename) == ("within", __file__)


def test_notes_and_the_whole_chain_are_told(pair):
    def fails():
        try:
            try:
                raise OSError(28, "No space left on device")
            except OSError as error:
                raise RuntimeError("unexpected pos") from error
        except RuntimeError as error:
            error.add_note("while writing shard 3")
            raise

    outcome = outcome_of(pair, fails)

    assert outcome.notes == ("while writing shard 3",)
    assert [(e.type_name, e.errno) for e in outcome.error.chain()] == [
        ("RuntimeError", None),
        ("OSError", 28),
    ]
    assert "No space left on device" in outcome.traceback_text and "direct cause" in outcome.traceback_text


def test_the_members_of_a_group_are_told(pair):
    outcome = outcome_of(pair, lambda: _raise(ExceptionGroup("two", [ValueError("a"), TypeError("b")])))

    assert [(e.type_name, e.message) for e in outcome.error.members] == [
        ("ValueError", "a"),
        ("TypeError", "b"),
    ]


def test_an_exception_that_holds_a_lock_is_told_in_full(pair):
    def fails():
        error = ValueError("holds a lock")
        error.lock = threading.Lock()
        raise error

    outcome = outcome_of(pair, fails)

    assert (outcome.type_name, outcome.message, outcome.exception) == ("ValueError", "holds a lock", None)
    assert "in fails" in outcome.traceback_text


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NeedsTwoArguments, "1 and 2"),
        (RefusesPickling, "text"),
        (LeavesWhenUnpickled, "text"),
    ],
)
def test_an_exception_that_cannot_travel_is_told_in_full(pair, error, message):
    outcome = outcome_of(pair, lambda: _raise(error(1, 2) if error is NeedsTwoArguments else error("text")))

    assert isinstance(outcome, Raised)
    assert (outcome.type_name, outcome.message, outcome.exception) == (error.__name__, message, None)


def test_an_exception_whose_text_fails_is_told_by_its_type(pair):
    outcome = outcome_of(pair, lambda: _raise(Unprintable("text")))

    assert outcome.type_name == "Unprintable" and "__str__ raised RuntimeError" in outcome.message


def test_a_message_of_a_megabyte_comes_back_whole(pair):
    outcome = outcome_of(pair, lambda: _raise(ValueError("x" * (1 << 20))))

    assert outcome.message == "x" * (1 << 20) == str(outcome.exception)


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, BaseException])
def test_what_is_no_exception_is_told_as_well(pair, error):
    outcome = outcome_of(pair, lambda: _raise(error("stop")))

    assert (outcome.type_name, outcome.message, type(outcome.exception)) == (error.__name__, "stop", error)


def test_the_engine_names_the_ranks_that_failed(pair, tmp_path):
    run = pair.run(
        lambda: dcp.save({"w": torch.ones(2)}, checkpoint_id=tmp_path),
        plan='writer.write_data@1=raise(ValueError, "disk gone")',
    )

    for rank in (0, 1):
        assert run.outcomes[rank].type_name == "CheckpointException"
        assert run.outcomes[rank].failures == {1: ("ValueError", "disk gone")}
    assert isinstance(run.outcomes[0].exception, dcp.CheckpointException)


# -- ends ----------------------------------------------------------------------------------------

ENDS = {
    "os._exit(7)": (lambda: os._exit(7), Died(exitcode=7)),
    "os._exit(0)": (lambda: os._exit(0), Died(exitcode=0)),
    "sys.exit()": (lambda: sys.exit(), Died(exitcode=0)),
    "sys.exit(3)": (lambda: sys.exit(3), Died(exitcode=3)),
    "sys.exit('text')": (lambda: sys.exit("a reason"), Died(exitcode=1)),
    "SIGKILL": (lambda: os.kill(os.getpid(), signal.SIGKILL), Died(signal="SIGKILL")),
    "SIGTERM": (lambda: os.kill(os.getpid(), signal.SIGTERM), Died(signal="SIGTERM")),
    "SIGRTMIN+7": (
        lambda: os.kill(os.getpid(), signal.SIGRTMIN + 7),
        Died(signal=f"signal {signal.SIGRTMIN + 7}"),
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_process_is_told_by_status_or_signal(pair, end):
    function, expected = ENDS[end]

    outcome = outcome_of(pair, function)

    assert (outcome.kind, outcome.signal, outcome.exitcode) == ("died", expected.signal, expected.exitcode)


def test_a_segmentation_fault_leaves_its_stack(pair):
    def crashes():
        ctypes.string_at(0)

    outcome = outcome_of(pair, crashes)

    assert outcome.signal == "SIGSEGV"
    assert "in crashes" in outcome.stack and __file__ in outcome.stack
    assert files_told(outcome.stack) == []


def test_a_planned_segmentation_fault_leaves_its_stack_too(pair, tmp_path):
    def saves():
        dcp.save({"w": torch.ones(2)}, checkpoint_id=tmp_path)

    run = pair.run(saves, plan="writer.write_data@1=segfault")

    assert run.outcomes[1].signal == "SIGSEGV" and "in saves" in run.outcomes[1].stack
    assert [(one.rank, one.fault.action.name) for one in run.fired] == [(1, "segfault")]


def test_all_ranks_may_end_at_once(pair):
    run = pair.run(lambda: os._exit(10 + dist.get_rank()))

    assert run.outcomes == {0: Died(exitcode=10), 1: Died(exitcode=11)}


def test_a_rank_that_raises_and_leaves_ends_and_its_error_is_kept(pair, tmp_path):
    run = pair.run(
        lambda: dcp.save({"w": torch.ones(2)}, checkpoint_id=tmp_path),
        plan="writer.reset@1=raise(ValueError, leave)",
    )

    assert run.outcomes[1].type_name == "ValueError"
    assert run.outcomes[0].kind == "raised" and "onnection" in run.outcomes[0].traceback_text
    assert pair.run(dist.get_rank).outcomes == {0: Returned(0), 1: Returned(1)}


def test_nobody_is_called_hung_while_a_rank_that_leaves_takes_its_time_to_end(pair):
    def ends_slowly():
        end = os._exit
        if dist.get_rank() == 1:
            os._exit = lambda status: (time.sleep(0.5), end(status))
            sys.exit(3)
        dist.barrier()

    run = pair.run(ends_slowly)

    assert run.outcomes[1] == Died(exitcode=3)
    assert run.outcomes[0].kind == "raised" and run.seconds >= 0.5


def test_a_world_of_one_rank_is_a_world():
    with World(1) as world:
        assert world.run(dist.get_world_size).outcomes == {0: Returned(1)}


def test_a_world_without_a_group_forms_none():
    with World(2, backend="") as world:
        assert world.run(dist.is_initialized).outcomes == {0: Returned(False), 1: Returned(False)}
