"""What the engine hooks record, however the engine is entered."""

from __future__ import annotations

import concurrent.futures
import importlib
import sys
import threading
import warnings

import msgspec
import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import async_save, format_utils, load_state_dict, save_state_dict
from torch.distributed.checkpoint.staging import BlockingAsyncStager, DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys

from faultkit.injection import arm
from faultkit.runs.outcomes import ErrorRecord
from tests.helpers.engine_cases import Armed, Counter, new_state

KINDS = {"attempt_begin": "[", "attempt_end": "]", "step_begin": "(", "step_end": ")"}


def _shape(armed):
    """Attempts in brackets, steps in parentheses; a failed end is marked."""
    text = ""
    for kind, data in armed.events:
        if kind in KINDS:
            name = {"attempt_begin": "op", "step_begin": "step"}.get(kind)
            text += KINDS[kind] + (data[name] if name else "" if data["ok"] else "!")
    return text


def _quietly(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        warnings.filterwarnings("ignore", message="torch.distributed is unavailable")
        warnings.filterwarnings("ignore", message=".*_state_dict` is deprecated")
        warnings.filterwarnings("ignore", message="Detected an existing checkpoint")
        return function(*args, **kwargs)


def test_a_save_and_a_load_are_attempts_with_steps(armed, save, load):
    def work():
        save()
        load()

    armed.run("", work)
    assert _shape(armed) == "[save(plan)(write)][load(plan)(read)]"
    assert armed.of("attempt_begin") == [
        {"op": "save", "coordinator": 0, "attempt": 1},
        {"op": "load", "coordinator": 0, "attempt": 2},
    ]
    assert [(data["number"], data["op"]) for data in armed.of("step_begin")] == [
        (1, "reduce_scatter"),
        (2, "all_reduce"),
        (3, "reduce_scatter"),
        (4, "all_gather"),
    ]


def test_a_failed_step_tells_its_ranks_and_the_attempt_its_error(armed, save):
    armed.run("writer.write_data=raise(OSError, ENOSPC)", save)
    assert _shape(armed) == "[save(plan)(write)!]!"
    assert armed.of("step_end")[-1] == {"step": "write", "number": 2, "ok": False, "failures": [0]}
    error = msgspec.convert(armed.of("attempt_end")[0]["error"], ErrorRecord, strict=False)
    assert (error.type_name, error.step, error.failures[0].errno) == ("CheckpointException", "write", 28)
    assert error.failures[0].frames == ()


def test_an_error_in_the_event_is_cut(armed, save):
    armed.run(f'writer.reset=raise(ValueError, "{"x" * 9000}")', lambda: save(checkpoint_id="unused"))
    error = armed.of("attempt_end")[0]["error"]
    assert len(error["message"]) < 2_100
    assert str(armed.error) == "x" * 9000


@pytest.mark.parametrize(
    ("plan", "shape"),
    [
        ("app.state_dict=raise(ValueError)", "[save]!"),
        ("writer.reset=raise(ValueError)", "[save]!"),
        ("comm.gather_object=raise(ValueError)", "[save(plan)!]!"),
        ("comm.gather_object#2=raise(ValueError)", "[save(plan)(write)!]!"),
        ("writer.finish=raise(ValueError)", "[save(plan)(write)!]!"),
    ],
)
def test_an_attempt_ends_where_it_failed(armed, save, tmp_path, plan, shape):
    armed.run(plan, lambda: save(checkpoint_id=tmp_path))
    assert _shape(armed) == shape


def test_the_attempt_of_a_load_covers_the_elements(armed, save, load):
    save()
    armed.run("app.load_state_dict=raise(ValueError)", load)
    assert _shape(armed) == "[load(plan)(read)]!"
    assert armed.fired == [("app.load_state_dict", "before", 1, None)]


def test_only_stateful_elements_are_faulted_each_under_its_own_override(armed, save):
    class Model(torch.nn.Linear):
        def state_dict(self, *args, **kwargs):
            return dict(super().state_dict(*args, **kwargs))

    state = {"model": Model(2, 2), "counter": Counter(), "plain": 1}
    armed.run("app.state_dict=delay(0)", lambda: save(state=state))
    assert [call for _, _, call, _ in armed.fired] == [1, 2]
    torch.nn.Linear(1, 1).state_dict()


def test_deprecated_functions_imported_before_are_attempts_too(armed, tmp_path):
    def work():
        state = {"a": torch.ones(2)}
        _quietly(save_state_dict, state, dcp.FileSystemWriter(tmp_path), no_dist=True)
        _quietly(load_state_dict, state, dcp.FileSystemReader(tmp_path), no_dist=True)

    armed.run("storage.reset=delay(0)", work)
    assert armed.error is None
    assert _shape(armed) == "[save(plan)(write)][load(plan)(read)]"
    assert [point for point, *_ in armed.fired] == ["storage.reset"] * 2


def test_functions_beneath_are_attempts_of_their_own(armed, save, tmp_path):
    save(state={"a": torch.ones(2)}, checkpoint_id=tmp_path / "checkpoint")

    def work():
        _quietly(format_utils.dcp_to_torch_save, tmp_path / "checkpoint", tmp_path / "one.pt")
        _quietly(_load_state_dict_from_keys, "a", checkpoint_id=tmp_path / "checkpoint")

    armed.run("reader.reset=delay(0); reader.read_data=delay(0)", work)
    assert armed.error is None
    assert _shape(armed) == "[load(plan)(read)]" * 2
    assert [point for point, *_ in armed.fired] == ["reader.read_data", "reader.reset", "reader.read_data"]


def test_a_save_without_collectives_has_no_steps(armed, save, tmp_path):
    armed.run("writer.finish=delay(0)", lambda: save(use_collectives=False))
    assert _shape(armed) == "[save]"
    assert armed.fired == [("writer.finish", "before", 1, None)]


def _async_save(writer, **kwargs):
    def work():
        answer = _quietly(async_save, new_state(), storage_writer=writer, **kwargs)
        upload = answer if isinstance(answer, concurrent.futures.Future) else answer.upload_completion
        # The warning filters belong to this thread's block, and the engine's thread warns as well.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return upload.result(timeout=60)

    return work


ASYNC = pytest.mark.filterwarnings(
    "ignore:torch.distributed is disabled", "ignore:Detected an existing checkpoint"
)


@ASYNC
@pytest.mark.parametrize(
    ("plan", "shape", "steps"),
    [
        ("writer.write_data=raise(OSError, EIO)", "[save(plan)(write)!]!", ["write"]),
        ("writer.finish=delay(0)", "[save(plan)(write)]", ["write"]),
        ("app.stage=raise(OSError)", "[save]!", [None]),
        ("app.state_dict=raise(OSError)", "[save]!", [None]),
        ("fs.create_stream#2=raise(OSError)", "[save(plan)(write)!]!", ["write"]),
    ],
)
def test_an_asynchronous_save_is_one_attempt(armed, tmp_path, plan, shape, steps):
    armed.run(plan, _async_save(dcp.FileSystemWriter(tmp_path)))
    assert _shape(armed) == shape
    assert [step for *_, step in armed.fired] == steps
    assert len(armed.of("attempt_end")) == 1


class PlainWriter(dcp.filesystem._FileSystemWriter):
    """A writer that is no stager, for which the engine creates one."""


@ASYNC
@pytest.mark.parametrize("given", ["default", "blocking", "threaded"])
def test_staging_fails_whoever_stages(armed, tmp_path, given):
    stager = {
        "default": lambda: None,
        "blocking": BlockingAsyncStager,
        "threaded": lambda: DefaultStager(StagingOptions(False, False, True, False)),
    }[given]()
    work = _async_save(PlainWriter(tmp_path), async_stager=stager)
    armed.run("app.stage=raise(OSError)", work)
    assert type(armed.error) is OSError
    assert _shape(armed) == "[save]!"
    armed.run("", work)
    assert (armed.error, _shape(armed)) == (None, "[save(plan)(write)]")
    if stager is not None:
        stager.close()


class UnsynchronisedStager(BlockingAsyncStager):
    """Fails when the engine's thread has the save already."""

    _synchronize_after_execute = True

    def synchronize_staging(self):
        raise OSError("not synchronised")


@ASYNC
@pytest.mark.parametrize("count", [1, 3])
def test_an_asynchronous_save_that_fails_after_the_handover_ends_once(armed, tmp_path, count):
    failed, saved = threading.Semaphore(0), threading.Semaphore(0)

    class Telling(PlainWriter):
        def finish(self, metadata, results):
            assert failed.acquire(timeout=60)  # else the save may end well before the call has failed
            super().finish(metadata, results)
            saved.release()

    def work():
        for number in range(count):
            with pytest.raises(OSError, match="not synchronised"):
                _async_save(Telling(tmp_path / str(number)), async_stager=UnsynchronisedStager())()
            failed.release()
            assert saved.acquire(timeout=60)

    armed.run("", work)
    assert armed.error is None
    assert [(data["attempt"], data["ok"]) for data in armed.of("attempt_end")] == [
        (number, False) for number in range(1, count + 1)
    ]
    assert len(armed.of("attempt_begin")) == count


class LateStager(BlockingAsyncStager):
    """Stages by a future, which fails."""

    def stage(self, state_dict):
        future = concurrent.futures.Future()
        future.set_exception(OSError("staging failed"))
        return future


@ASYNC
def test_a_staging_future_that_fails_ends_the_attempt_on_the_engines_thread(armed, tmp_path):
    armed.run("", _async_save(PlainWriter(tmp_path), async_stager=LateStager()))
    assert type(armed.error) is OSError
    assert _shape(armed) == "[save]!"


@ASYNC
def test_a_save_beside_an_asynchronous_one_is_an_attempt_of_its_own(armed, save, tmp_path):
    def work():
        future = _quietly(async_save, new_state(), storage_writer=dcp.FileSystemWriter(tmp_path / "a"))
        save(dcp.FileSystemWriter(tmp_path / "b"))
        future.result(timeout=60)

    armed.run("", work)
    ends = armed.of("attempt_end")
    assert sorted(end["attempt"] for end in ends) == [1, 2]
    assert all(end["ok"] for end in ends)


def test_writing_threads_belong_to_the_step_that_is_open(armed, save, tmp_path):
    writer = dcp.FileSystemWriter(tmp_path, thread_count=3, single_file_per_rank=False)
    armed.run("fs.create_stream=delay(0); planner.resolve_data=delay(0)", lambda: save(writer))
    assert {step for *_, step in armed.fired} == {"write"}
    calls = [call for point, _, call, _ in armed.fired if point == "fs.create_stream"]
    assert sorted(calls) == list(range(1, len(calls) + 1))


def test_the_hooks_of_a_save_cost_little(save, tmp_path):
    """Counted in calls of Python functions rather than in time, which the machine would decide."""
    calls = []

    def profile(frame, event, argument):
        if event == "call" and "faultkit/injection" in frame.f_code.co_filename:
            calls.append(frame.f_code.co_name)

    events = []
    with arm("", rank=0, world_size=1, record=lambda kind, data: events.append(kind)):
        sys.setprofile(profile)
        try:
            save(dcp.FileSystemWriter(tmp_path))
        finally:
            sys.setprofile(None)
    assert len(events) == 6
    assert 0 < len(calls) < 60, calls


def _rank(rank, size, store, work):
    def run():
        dist.init_process_group("gloo", store=dist.FileStore(str(store), size), rank=rank, world_size=size)
        armed = Armed()
        work(armed, rank)
        dist.destroy_process_group()
        return armed.fired, armed.of("attempt_begin"), type(armed.error).__name__, armed.session.coordinator

    return run


@pytest.fixture(autouse=True)
def _loopback(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


@pytest.mark.parametrize(
    "plan", ["writer.reset@coordinator=delay(0)", "writer.finish@coordinator=raise(OSError)"]
)
def test_the_deprecated_save_may_name_another_coordinator(forked, tmp_path, plan):
    def work(armed, rank):
        writer = dcp.FileSystemWriter(tmp_path / "checkpoint")
        state = {"a": torch.ones(2), "b": torch.zeros(2)}
        armed.run(
            plan,
            lambda: _quietly(save_state_dict, state, writer, coordinator_rank=1),
            rank=rank,
            world_size=2,
        )

    answers = forked(*(_rank(rank, 2, tmp_path / "store", work) for rank in range(2)))
    (ok0, (fired0, begun0, error0, _)), (ok1, (fired1, begun1, error1, coordinator1)) = [
        a for a, _ in answers
    ]
    assert ok0
    assert ok1
    assert (fired0, len(fired1)) == ([], 1)
    assert begun0 == begun1 == [{"op": "save", "coordinator": 1, "attempt": 1}]
    assert error0 == error1 == ("CheckpointException" if "finish" in plan else "NoneType")
    assert coordinator1 == 1


def test_the_coordinator_of_a_smaller_group_is_known_by_its_rank_in_the_world(forked, tmp_path):
    def work(armed, rank):
        group = dist.new_group([1, 2])
        if rank == 0:
            armed.run("", lambda: None, rank=rank, world_size=3)
            return
        armed.run(
            "writer.finish@coordinator=raise(OSError); writer.finish@others=exit(9)",
            lambda: dcp.save({"a": torch.ones(2)}, checkpoint_id=tmp_path / "c", process_group=group),
            rank=rank,
            world_size=3,
        )

    answers = forked(*(_rank(rank, 3, tmp_path / "store", work) for rank in range(3)))
    values = [answer for answer, _ in answers]
    assert [value[0] for value in values] == [True] * 3, values
    assert [value[1][2] for value in values] == ["NoneType", "CheckpointException", "CheckpointException"]
    assert [len(value[1][0]) for value in values] == [0, 1, 0]
    assert values[1][1][1] == [{"op": "save", "coordinator": 0, "attempt": 1, "ranks": [1, 2]}]
    assert values[1][1][3] == 1


def test_an_undecorated_entry_point_is_reached_by_its_name(monkeypatch, armed, save):
    """What a torch without decorators on its entry points would look like."""
    saver = importlib.import_module("torch.distributed.checkpoint.state_dict_saver")
    plain = saver.save.__wrapped__.__wrapped__
    monkeypatch.setattr(saver, "save", plain)
    monkeypatch.setattr(dcp, "save", plain)
    armed.run("", save)
    assert _shape(armed) == "[save(plan)(write)]"
    assert dcp.save is plain


@ASYNC
def test_a_save_that_outlives_the_run_goes_on_unharmed(tmp_path):
    entered, go_on = threading.Event(), threading.Event()

    class Slow(dcp.FileSystemWriter):
        def finish(self, metadata, results):
            entered.set()
            assert go_on.wait(60)
            super().finish(metadata, results)

    events = []
    with arm("writer.finish=raise(OSError)", rank=0, world_size=1, record=lambda *e: events.append(e)):
        future = _quietly(async_save, new_state(), storage_writer=Slow(tmp_path))
        assert entered.wait(60)
    count = len(events)
    go_on.set()
    assert future.result(timeout=60).state_dict_metadata
    assert len(events) == count
