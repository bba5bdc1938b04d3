"""Chunks on workers that die, in real processes: none is lost, none told twice, who kills three is left."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pickle
import signal

import msgspec
import pytest

from faultkit import FaultPlan
from faultkit.checks import Verdict
from faultkit.exceptions import HarnessError
from faultkit.sweep.chunks import ChunkDone
from faultkit.sweep.dispatch import DEATHS_MAX, PLANS_MIN, run_chunks
from faultkit.sweep.executors import workers_of
from faultkit.sweep.results import PlanResult

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
)

FORK = multiprocessing.get_context("fork")


def work(body):
    """Ends its process if the chunk has a plan that says so and its file says that it may."""
    indices, deadly = pickle.loads(body)
    for index, (notes, deaths) in deadly.items():
        if index in indices and len(os.listdir(notes)) < deaths:
            open(f"{notes}/{os.getpid()}", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
    return ChunkDone(tuple(PlanResult(FaultPlan(), Verdict.HELD, (), (), {}, 0.5) for _ in indices))


def pool():
    return concurrent.futures.ProcessPoolExecutor(2, FORK)


class Given:
    """What a sweep of so many plans comes to, of which `deadly` kill their worker so often."""

    def __init__(self, tmp_path, count, deadly, executor=pool, jobs=2):
        self.packed, self.results, self.left = [], [], []
        self.deadly = {}
        for index, deaths in deadly.items():
            (tmp_path / f"{index}").mkdir()
            self.deadly[index] = (str(tmp_path / f"{index}"), deaths)
        with workers_of(executor, jobs) as workers:
            theirs = msgspec.structs.replace(
                workers, submit=lambda call, body: workers.submit(work, body), chunk_seconds=1.0
            )
            run_chunks(
                theirs,
                range(count),
                self.pack,
                lambda done: None,
                lambda index, result: self.results.append(index),
                self.left.append,
                sweep="one",
            )

    def pack(self, indices):
        self.packed.append(indices)
        return pickle.dumps((indices, self.deadly))


def test_every_plan_is_in_one_chunk_and_no_chunk_is_a_plan(tmp_path):
    found = Given(tmp_path, 60, {})
    assert sorted(found.results) == list(range(60)) and not found.left
    assert sorted(index for chunk in found.packed for index in chunk) == list(range(60))
    assert all(len(chunk) >= PLANS_MIN for chunk in found.packed[:-1])


def test_the_chunk_of_a_worker_that_died_runs_again(tmp_path):
    found = Given(tmp_path, 20, {9: DEATHS_MAX - 1})
    assert sorted(found.results) == list(range(20)) and not found.left
    assert len(os.listdir(tmp_path / "9")) == DEATHS_MAX - 1


def test_a_chunk_that_kills_three_is_left_and_the_others_go_on(tmp_path):
    found = Given(tmp_path, 40, {9: 100})
    (left,) = found.left
    assert 9 in left and len(os.listdir(tmp_path / "9")) == DEATHS_MAX
    assert sorted([*found.results, *left]) == list(range(40))


def test_somebody_elses_executor_that_is_broken_is_told(tmp_path):
    with pool() as executor, pytest.raises(HarnessError, match="ProcessPoolExecutor: BrokenProcessPool"):
        Given(tmp_path, 8, {0: 1}, executor)


def test_what_is_measured_makes_the_chunks(tmp_path):
    found = Given(tmp_path, 64, {}, jobs=1)  # half a second each, where a chunk is to take one
    assert len(found.packed[0]) > PLANS_MIN and {len(chunk) for chunk in found.packed[1:]} == {PLANS_MIN}
