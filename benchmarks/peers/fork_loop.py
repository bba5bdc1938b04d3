"""The floor: four ranks forked from a process that has imported torch, and a loop written by hand.

The ranks form one gloo group and do save after save, each with its fault (see `workload`).  Each rank
asserts what it saw and sends it to the parent through a pipe; the parent compares all ranks' stories.
Nothing else is there: no dispatch from the parent, no record of what fired, no check of leaks, no
watch over a rank that hangs beyond one deadline for the whole loop.  A runner that does those things is
measured by how little it adds to this.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed as dist

from benchmarks.peers.workload import WORLD_SIZE, expect_failure, fault_number, join_group

__all__ = ["Loop", "measure"]

DEADLINE_SECONDS = 300.0


class Loop(NamedTuple):
    """`start_seconds` from the first fork until every rank is in the group; `loop_seconds` for all plans;
    `total_seconds` with the ranks' end."""

    plans: int
    start_seconds: float
    loop_seconds: float
    total_seconds: float

    @property
    def plans_per_second(self) -> float:
        return self.plans / self.loop_seconds


def _rank_main(rank: int, store_path: str, plans: int, pipe: int) -> None:
    def send(message: dict[str, Any]) -> None:
        os.write(pipe, json.dumps(message).encode() + b"\n")

    join_group(rank, store_path)
    send({"ready": True})
    for index in range(plans):
        send({"plan": index, "failures": expect_failure(fault_number(index), rank)})
    dist.destroy_process_group()


def _fork_rank(rank: int, store_path: str, plans: int) -> tuple[int, int]:
    """Process id and read end of the pipe of a new rank."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    status = 1
    try:
        os.close(reading)
        _rank_main(rank, store_path, plans, writing)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _collect(pipes: list[int], plans: int, started: float) -> tuple[float, float]:
    """Read every rank's messages to the end of its pipe; the times when all were ready and all had done."""
    rank_of = {pipe: rank for rank, pipe in enumerate(pipes)}
    pending = dict.fromkeys(pipes, b"")
    stories: list[dict[int, Any]] = [{} for _ in range(plans)]
    told = ready = 0
    ready_at = done_at = started
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            remaining = started + DEADLINE_SECONDS - time.perf_counter()
            events = selector.select(max(remaining, 0))
            if not events:
                raise TimeoutError(f"the ranks had not ended after {DEADLINE_SECONDS} s")
            for key, _ in events:
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fd)
                *lines, pending[key.fd] = (pending[key.fd] + chunk).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    if "ready" in message:
                        ready += 1
                        ready_at = time.perf_counter() if ready == WORLD_SIZE else ready_at
                    else:
                        stories[message["plan"]][rank_of[key.fd]] = message["failures"]
                        told += 1
                        done_at = time.perf_counter() if told == plans * WORLD_SIZE else done_at
    for index, story in enumerate(stories):
        fault = fault_number(index)
        expected = {str(fault.rank): ["ValueError", fault.message]}
        if story != dict.fromkeys(range(WORLD_SIZE), expected):
            raise AssertionError(f"plan {index}, {fault}: the ranks told {story}")
    return ready_at, done_at


def measure(plans: int = 200) -> Loop:
    """Run `plans` faulted saves; raises where a rank's story of one is not the fault of that plan."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        processes: list[int] = []
        pipes: list[int] = []
        try:
            for rank in range(WORLD_SIZE):
                process, pipe = _fork_rank(rank, str(Path(folder) / "store"), plans)
                processes.append(process)
                pipes.append(pipe)
            ready_at, done_at = _collect(pipes, plans, started)
        except BaseException:
            for process in processes:
                os.kill(process, signal.SIGKILL)  # not reaped yet, so the number is still this rank's
            raise
        finally:
            statuses = [os.waitpid(process, 0)[1] for process in processes]
            for pipe in pipes:
                os.close(pipe)
        if any(statuses):
            raise AssertionError(f"the ranks ended with the statuses {statuses}")
        return Loop(plans, ready_at - started, done_at - ready_at, time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description="A loop of faulted saves on four forked ranks.")
    parser.add_argument("--plans", type=int, default=200, help="how many saves (default: %(default)s)")
    loop = measure(parser.parse_args().plans)
    print(
        f"fork loop: {loop.plans_per_second:.0f} plans/s over {loop.plans} plans on {WORLD_SIZE} ranks; "
        f"start {loop.start_seconds:.2f} s, all {loop.total_seconds:.2f} s"
    )


if __name__ == "__main__":
    main()
