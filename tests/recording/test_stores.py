"""What ranks wait for through a store orders them, and what only looks like it does not."""

from __future__ import annotations

import time

import pytest
import torch.distributed as dist
from torch.distributed.elastic.utils import store as elastic

from faultkit import crash
from faultkit.recording import Recording, describe, record
from tests.recording.test_waiting import follows

pytestmark = pytest.mark.slow


def store_of(name):
    """One of all ranks, under prefixes of its own."""
    return dist.PrefixStore(name, dist.PrefixStore("more", dist.distributed_c10d._get_default_store()))


def by_barrier(store):
    elastic.barrier(store, dist.get_world_size(), "first", barrier_timeout=30)


def by_a_barrier_that_was_used(store):
    """Keys of a barrier that all have left long ago: nobody waits."""
    by_barrier(store)


def by_key(store):
    """Both directions, each by a key of its own."""
    store.set(f"here {dist.get_rank()}", "yes")
    store.wait([f"here {1 - dist.get_rank()}"])


def by_value(store):
    store.set(f"here {dist.get_rank()}", "yes")
    assert store.get(f"here {1 - dist.get_rank()}") == b"yes"


def by_the_first_alone(store):
    """Rank 1 waits for rank 0, and rank 0 for nobody."""
    if dist.get_rank() == 0:
        store.set("go", "yes")
    else:
        store.wait(["go"])


def by_count(store):
    """Rank 0 counts all, and does not look at how many there are."""
    store.add("count", 1)
    by_the_first_alone(store)


def by_an_old_key(store):
    """The keys are there from before."""
    by_key(store)


def by_a_key_of_both(store):
    store.set("here", "yes")
    store.wait(["here"])


def by_polling(store):
    store.set(f"here {dist.get_rank()}", "yes")
    while not store.check([f"here {1 - dist.get_rank()}"]):
        pass


def save(directory, wait, name, beside):
    """Each rank writes a file, and rank 0 then makes the name by which a load finds both.

    In this run the others have always written by then, also where nothing but luck sees to that.
    """
    rank = dist.get_rank()
    (directory / f"part-{rank}").write_text("new")
    (beside / f"{name}-{rank}").touch()
    if rank == 0:
        ends = time.monotonic() + 30
        while not (beside / f"{name}-1").exists() and time.monotonic() < ends:
            pass
    wait(store_of(name))
    if rank == 0:
        (directory / "complete").write_text("yes")


def wait_alone(wait, name):
    wait(store_of(name))


@pytest.fixture
def saved(pair, tmp_path):
    """The recording of a save whose ranks wait for each other in that way."""

    def of(wait, before=()):
        (tmp_path / "root").mkdir()
        name = f"{wait.__name__} of {tmp_path.name}"  # the store of the ranks keeps what earlier tests said
        for one in before:  # not recorded
            pair.run(wait_alone, one, name).raise_for_violations()
        found = record(pair, save, tmp_path / "root", wait, name, tmp_path, root=tmp_path / "root")
        found.run.raise_for_violations()
        return found.recording

    return of


def is_ordered(recording):
    """Whether rank 1 has written before rank 0 makes the name, in every run."""
    made = {one.path: one.index for one in recording.operations if one.kind == "open"}
    return follows(recording, made["part-1"], made["complete"])


@pytest.mark.parametrize("wait", [by_barrier, by_key, by_value])
def test_who_waits_for_what_another_rank_says_comes_after_it(saved, wait):
    assert is_ordered(saved(wait))


@pytest.mark.parametrize("wait", [by_the_first_alone, by_count, by_a_key_of_both, by_polling])
def test_who_waits_for_nobody_comes_after_nobody(saved, wait):
    assert not is_ordered(saved(wait))


@pytest.mark.parametrize("wait", [by_a_barrier_that_was_used, by_an_old_key])
def test_what_was_said_before_says_nothing(saved, wait):
    recording = saved(wait, [by_barrier, by_key])
    assert any(one.kind == "store" for one in recording.operations) and not is_ordered(recording)


def test_a_recording_with_stores_can_be_kept(saved):
    recording = saved(by_barrier)
    assert Recording.from_bytes(recording.to_bytes()) == recording
    told = [describe(one) for one in recording.operations if one.kind == "store"]
    assert (
        sum(
            "store add(file:" in one and "/first/num_members)" in one and "more/by_barrier of" in one
            for one in told
        )
        == 2
    )


def load(directory):
    if not (directory / "complete").exists():
        return None
    return {"parts": [(directory / f"part-{rank}").read_text() for rank in range(2)]}


@pytest.mark.parametrize(
    ("wait", "verdicts"), [(by_barrier, set()), (by_the_first_alone, {"ERROR", "GARBAGE"})]
)
def test_a_kill_finds_the_barrier_that_is_missing_and_nothing_where_there_is_one(
    pair, tmp_path, wait, verdicts
):
    name = f"{wait.__name__} killed {tmp_path.name}"
    scenario = crash.Scenario(name="waits", save=lambda at: _saved(at, wait, name, tmp_path), load=load)
    found = crash.explore(scenario, ("killed",), world=pair)
    assert {finding.verdict for finding in found.findings} == verdicts, found.text()


def _saved(directory, wait, name, beside):
    directory.mkdir(exist_ok=True)
    save(directory, wait, name, beside)
