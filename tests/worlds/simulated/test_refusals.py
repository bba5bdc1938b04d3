"""What simulated ranks cannot do is refused with the reason, and never called a hang."""

from __future__ import annotations

import asyncio
import os
import socket
import threading

import pytest
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import FaultPlan, PlanError, Verdict, World
from faultkit.sweep import sweep
from faultkit.worlds.simulated import NotSimulatedError


@pytest.fixture(scope="module")
def pair():
    with World(2, kind="simulated", timeout=1.0) as world:
        yield world


def run_an_event_loop():
    async def sleep():
        await asyncio.sleep(0)

    asyncio.run(sleep())


def serve_and_connect(directory=None):
    """Rank 1 asks rank 0 for a byte."""
    ports = [None]
    if dist.get_rank() == 0:
        server = socket.create_server(("127.0.0.1", 0))
        ports = [server.getsockname()[1]]
    dist.broadcast_object_list(ports)
    if dist.get_rank() == 0:
        connection, _ = server.accept()
        connection.sendall(b"x")
        connection.close()
        server.close()
        return b"x"
    with socket.create_connection(("127.0.0.1", ports[0])) as connection:
        return connection.recv(1)


def wait_in_a_helper_thread():
    reading, _ = os.pipe()
    thread = threading.Thread(target=os.read, args=(reading, 1))
    thread.start()
    thread.join()


def save_by_process():
    from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType

    dcp.async_save({}, checkpoint_id="here", async_checkpointer_type=AsyncCheckpointerType.PROCESS)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (save_by_process, r"rank \d saves asynchronously by a process of its own"),
        (run_an_event_loop, "rank 0 runs asyncio"),
        (serve_and_connect, "rank 0 listens on a socket"),
        (wait_in_a_helper_thread, "rank 0 waits in C"),
    ],
)
def test_it_is_refused_with_the_reason_and_the_nearest_kind(pair, function, reason):
    with pytest.raises(
        NotSimulatedError, match=f"^this cannot be simulated: {reason}.*kind 'fresh'$"
    ) as caught:
        pair.run(function)
    assert isinstance(caught.value, PlanError)  # which is what a world of kind auto and the command line know
    assert pair.run(dist.get_rank).verdict is Verdict.HELD


def test_a_loop_that_computes_for_ever_is_a_hang_as_on_processes(pair):
    def compute():
        while dist.get_rank() == 0:
            pass

    assert pair.run(compute).verdict is Verdict.HUNG


def test_sockets_that_wait_for_nobody_else_are_well(pair):
    def talk_to_oneself():
        one, other = socket.socketpair()
        one.sendall(b"x")
        said = other.recv(1)
        one.close()
        other.close()
        return said

    assert [outcome.value for outcome in pair.run(talk_to_oneself).outcomes.values()] == [b"x", b"x"]


def test_a_sweep_of_simulated_ranks_refuses_it_and_one_of_kind_auto_runs_it_on_processes():
    name, plans = f"{__name__}:serve_and_connect", [FaultPlan()]
    with pytest.raises(PlanError, match="cannot be simulated"):
        sweep(name, world=2, kind="simulated", plans=plans)
    (result,) = sweep(name, world=2, kind="auto", plans=plans).results
    assert (result.verdict, result.kind) == (Verdict.HELD, "fresh")


def test_a_checkpointer_that_saves_by_process_is_refused_before_anything_is_saved():
    with pytest.raises(PlanError, match=r"rank \d saves asynchronously by a process.*kind 'fresh'$"):
        sweep("dcp-async-process.async", world=2, kind="simulated", points=["stager.*"])
