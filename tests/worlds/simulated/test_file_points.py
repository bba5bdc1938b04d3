"""File operations of simulated ranks as places where another rank may go first: a search finds missing barriers."""

import os
import pickle
import shutil

import pytest
import torch.distributed as dist

from faultkit import World
from faultkit.interception import chain
from faultkit.worlds.simulated import explore
from faultkit.worlds.simulated.core.independence import SEPARATOR, are_independent


@pytest.fixture(scope="module")
def two():
    with World(2, kind="simulated") as world:
        yield world


def clear_the_directory_that_others_write_to(directory, sound):
    place = os.path.join(directory, "new")
    if dist.get_rank() == 0:
        shutil.rmtree(place, ignore_errors=True)
    if sound:
        dist.barrier()
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, str(dist.get_rank())), "w") as file:
        file.write("what this rank has")
    dist.barrier()
    assert sorted(os.listdir(place)) == ["0", "1"]


def make_a_directory_unless_it_is_there(directory, sound):
    place = os.path.join(directory, "new")
    if not os.path.exists(place):
        os.makedirs(place, exist_ok=sound)


def read_what_the_coordinator_is_writing(directory, sound):
    index = os.path.join(directory, "index")
    if dist.get_rank() == 0:
        with open(index + ".tmp" if sound else index, "wb", buffering=0) as file:
            file.write(pickle.dumps({"step": 1})[:10])
            file.write(pickle.dumps({"step": 1})[10:])
        if sound:
            os.rename(index + ".tmp", index)
    elif os.path.exists(index):
        with open(index, "rb", buffering=0) as file:
            pickle.loads(file.read())


PLANTED = (
    clear_the_directory_that_others_write_to,
    make_a_directory_unless_it_is_there,
    read_what_the_coordinator_is_writing,
)


def explored(world, work, directory, sound, **how):
    def empty():
        shutil.rmtree(directory)
        directory.mkdir()

    return explore(world, work, str(directory), sound, bound=400, before=empty, **how)


@pytest.mark.parametrize("work", PLANTED, ids=lambda work: work.__name__)
def test_an_order_of_file_operations_that_breaks_it_is_found(two, tmp_path, work):
    found = explored(two, work, tmp_path, False, until=lambda run: run.verdict != "HELD")
    assert found.worst.verdict in ("UNUSABLE", "HUNG"), found
    again = explored(two, work, tmp_path, False)
    assert again.is_complete and "HELD" in again.verdicts, again  # nobody sees it without a search
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    run = two.run(work, str(tmp_path), False, schedule=again.worst.simulation.schedule)
    assert run.verdict == again.worst.verdict != "HELD"


@pytest.mark.parametrize("work", PLANTED, ids=lambda work: work.__name__)
def test_the_same_done_right_holds_in_every_order(two, tmp_path, work):
    found = explored(two, work, tmp_path, True)
    assert found.is_complete and set(found.verdicts) == {"HELD"}, found


@pytest.mark.parametrize("work", PLANTED, ids=lambda work: work.__name__)
def test_a_few_dozen_seeds_find_it_too(two, tmp_path, work):
    for seed in range(60):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        if two.run(work, str(tmp_path), False, seed=seed).verdict != "HELD":
            break
    assert 0 < seed < 59


def write_files_of_ones_own(directory):
    for number in range(20):
        with open(os.path.join(directory, f"{dist.get_rank()}-{number}"), "w") as file:
            file.write("x")


def test_files_that_nobody_else_touches_are_no_choice(two, tmp_path):
    found = explore(two, write_files_of_ones_own, str(tmp_path), bound=20)
    assert found.is_complete and found.covered + found.redundant <= 2, found  # who starts is one


def count_who_listens():
    return len(chain.handlers())


def test_without_a_search_nobody_listens_to_files(two):
    listening = [two.run(count_who_listens, seed=seed).outcomes[0].value for seed in (0, 1)]
    assert listening == [0, 1]


def of_files(text):
    return SEPARATOR.join(["file", *text.split()])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("change open /a/x", "change open /a/y"),
        ("look stat /a", "look list /a"),
        ("look stat /a/x", "change open /a/y"),
        ("change mkdir /a", "change mkdir /b"),
        ("change mkdir /a", "change open /ab"),
        ("look list /a", "change write /a/x"),
        ("look list /a", "change open /a/b/c"),
    ],
)
def test_operations_on_different_files_commute(one, other):
    assert are_independent(of_files(one), of_files(other)) and are_independent(of_files(other), of_files(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("change open /a/x", "look stat /a/x"),
        ("change mkdir /a", "change mkdir /a"),
        ("change rmdir /a", "change open /a/b/c"),
        ("change mkdir /a", "look stat /a/x"),
        ("look list /a", "change unlink /a/x"),
        ("change rename /a /b", "change open /b/x"),
        ("change rename /c/a /d/a", "look list /d"),
        ("look read /a/x", "change write /a/x"),
    ],
)
def test_operations_that_touch_the_same_do_not(one, other):
    assert not are_independent(of_files(one), of_files(other))
    assert not are_independent(of_files(other), of_files(one))
