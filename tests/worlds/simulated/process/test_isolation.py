"""What one rank changes in its process does not reach another, although all share one."""

from __future__ import annotations

import gc
import logging
import os
import random
import secrets
import signal
import sys
import threading
import time
import warnings

import numpy as np
import torch
import torch.distributed as dist

from faultkit import World

DEPTH_MAX = 6_000
OWN_CALLS_MAX = 100  # of what calls the function, here and on a rank


def test_each_rank_has_its_own_process_state(pair):
    def change():
        rank = dist.get_rank()
        before = random.random(), np.random.rand(), torch.rand(1).item()
        random.seed(rank)
        np.random.seed(rank)
        torch.manual_seed(rank)
        os.environ["WHO"] = str(rank)
        os.chdir("/" if rank else "/usr")
        torch.set_default_dtype(torch.float64 if rank else torch.float32)
        warnings.simplefilter("error" if rank else "ignore")
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        dist.barrier()
        try:
            warnings.warn("beware", stacklevel=1)
            warned = "ignored"
        except UserWarning:
            warned = "raised"
        return (
            before,
            (random.random(), np.random.rand(), torch.rand(1).item()),
            (os.environ["WHO"], os.getenv("RANK"), os.environ["WORLD_SIZE"]),
            os.getcwd(),
            (torch.zeros(1).dtype, warned, threading.current_thread().name),
        )

    values = [outcome.value for outcome in pair.run(change).outcomes.values()]
    random.seed(0)
    assert values[0][0] == values[1][0] and values[0][0][0] == random.random()
    assert values[0][1] != values[1][1]
    assert [value[2:] for value in values] == [
        (("0", "0", "2"), "/usr", (torch.float32, "ignored", "MainThread")),
        (("1", "1", "2"), "/", (torch.float64, "raised", "MainThread")),
    ]
    # and the next run starts afresh
    assert pair.run(lambda: (os.getcwd(), os.environ.get("WHO"), torch.zeros(1).dtype)).outcomes[1].value == (
        os.getcwd(),
        None,
        torch.float32,
    )


def test_the_directories_of_ranks_cost_no_descriptors(pair):
    def go():
        for directory in ("/usr", "/", "/usr"):
            os.chdir(directory)
        dist.barrier()
        return len(os.listdir("/proc/self/fd"))

    runs = [pair.run(go) for _ in range(3)]
    assert [run.verdict for run in runs] == ["HELD"] * 3
    assert len({run.outcomes[0].value for run in runs}) == 1


def test_output_logs_and_warnings_are_those_of_the_rank(pair):
    def talk():
        rank = dist.get_rank()
        for _ in range(2):
            dist.barrier()
            warnings.warn("once", stacklevel=1)
        print("out", rank)
        sys.stderr.write(f"err {rank}\n")
        logging.getLogger("somebody").warning("log %d", rank)
        thread = threading.Thread(target=print, args=("thread", rank))
        thread.start()
        thread.join()

    output = pair.run(talk).output
    for rank in (0, 1):
        lines = output[rank].splitlines()
        assert lines[-4:] == [f"out {rank}", f"err {rank}", f"log {rank}", f"thread {rank}"]
        assert output[rank].count("UserWarning: once") == 1


def test_an_alarm_ends_with_the_function_that_set_it(pair):
    def set_one():
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        return signal.getitimer(signal.ITIMER_REAL)[0] > 0

    def innocent():
        began = time.process_time()
        while time.process_time() < began + 0.05:
            pass
        return signal.getitimer(signal.ITIMER_REAL)

    assert pair.run(set_one).outcomes[1].value
    assert [outcome.value for outcome in pair.run(innocent).outcomes.values()] == [(0.0, 0.0)] * 2


def test_names_are_drawn_from_the_seed_and_do_not_collide(pair):
    def draw():
        import tempfile
        import uuid

        return {
            "uuid4": uuid.uuid4(),
            "uuid1": (uuid.uuid1(), uuid.uuid1()),
            "urandom": os.urandom(4),
            "file": next(tempfile._get_candidate_names()),
            "system": random.SystemRandom().random(),
            "secrets": secrets.token_hex(4),
            "generator": random.Random().random(),
            "numpy": np.random.default_rng().random(),
            "numpy of old": np.random.RandomState().rand(),
            "torch": (torch.seed(), torch.rand(1).item()),
        }

    first, second = (pair.run(draw).outcomes for _ in range(2))
    assert [outcome.value for outcome in first.values()] == [outcome.value for outcome in second.values()]
    for what, drawn in first[0].value.items():
        assert drawn != first[1].value[what], what
    assert len(set(first[0].value["uuid1"])) == 2


def test_no_rank_turns_the_collector_on(pair):
    def turn():
        gc.enable() if dist.get_rank() else gc.disable()
        dist.barrier()
        return gc.isenabled()

    def makes_cycles():
        gc.collect()
        for _ in range(10_000):
            cycle = []
            cycle.append(cycle)
        return gc.get_count()[0] >= 10_000

    for _ in range(2):
        assert [outcome.value for outcome in pair.run(turn).outcomes.values()] == [False, True]
        assert pair.run(makes_cycles).outcomes[0].value


def test_groups_are_those_of_the_rank(four):
    def split():
        halves = [dist.new_group([0, 1]), dist.new_group([2, 3])]
        mine = halves[dist.get_rank() // 2]
        total = torch.tensor([dist.get_rank()])
        dist.all_reduce(total, group=mine)
        return (
            total.item(),
            dist.get_rank(mine),
            halves[1 - dist.get_rank() // 2] is dist.GroupMember.NON_GROUP_MEMBER,
        )

    assert [outcome.value for outcome in four.run(split).outcomes.values()] == [
        (1, 0, True),
        (1, 1, True),
        (5, 0, True),
        (5, 1, True),
    ]


def test_the_caller_is_untouched():
    with World(2, kind="simulated") as world:
        world.run(lambda: os.environ.update(TOUCHED="yes"))
    assert "TOUCHED" not in os.environ and not dist.is_initialized()
    assert type(threading.Lock()).__module__ == "_thread" and os.environ.__class__.__name__ == "_Environ"


def test_a_rank_among_many_may_recurse_as_deep_as_a_process():
    def recurse():
        def reached(depth):
            try:
                return depth if depth == DEPTH_MAX else max(map(reached, [depth + 1]))
            except RecursionError:  # since Python 3.12 the interpreter limits what goes through C
                return depth

        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(50_000)
        try:
            return reached(0)
        finally:
            sys.setrecursionlimit(limit)

    least = recurse() - OWN_CALLS_MAX
    with World(17, kind="simulated") as world:
        assert min(outcome.value for outcome in world.run(recurse).outcomes.values()) >= least
