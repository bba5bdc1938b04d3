"""The stock engine to S3 and by fsspec: what was saved is loaded, on other ranks, too, and an error is told to all."""

from __future__ import annotations

import pytest

from faultkit import checkpointers
from faultkit.checkpointers.servers import S3Address
from faultkit.damage import survey
from faultkit.exceptions import ScenarioError
from faultkit.history import replay_history
from faultkit.scenarios.derived import derive
from faultkit.sweep import sweep
from tests_engines.works import content, load, of_all, prune, save

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The pynvml package:FutureWarning")]

FILES = ("dcp-fsspec", "dcp-fsspec-s3", "dcp-s3")
IN_S3 = ("dcp-fsspec-s3", "dcp-s3")
# what fsspec keeps for its process: a thread for all its transfers, and what that waits with
KEPT = ("thread*", "open descriptor*")


@pytest.fixture
def options(request, server):
    """Those without which the checkpointer that the test names cannot run."""
    return {"server": server} if request.node.callspec.params["name"] in IN_S3 else {}


@pytest.mark.parametrize("name", FILES)
def test_what_two_ranks_saved_is_loaded_by_any_number_of_them_and_read_back(worlds, tmp_path, name, options):
    assert of_all(worlds(2).run(load, name, tmp_path, allow_residue=KEPT, **options))[0] is None
    for step in (1, 2):
        of_all(worlds(2).run(save, name, tmp_path, step, allow_residue=KEPT, **options))

    for size in (2, 1):
        loaded = worlds(size).run(load, name, tmp_path, allow_residue=KEPT, **options)
        assert of_all(loaded) == (2, of_all(worlds(size).run(content, 2)))
    checkpointer = checkpointers.get(name)
    assert checkpointer.steps(tmp_path)[-1] == 2
    if checkpointer.prune is not None:
        of_all(worlds(2).run(prune, name, tmp_path, 1, allow_residue=KEPT, **options))
        assert checkpointer.steps(tmp_path) == [2]


def save_and_load(directory):
    save("dcp-fsspec-memory", directory, 3)
    return load("dcp-fsspec-memory", directory)


def test_what_is_in_the_memory_of_a_rank_is_there_as_long_as_it_is(worlds, tmp_path):
    assert of_all(worlds(1).run(save_and_load, tmp_path)) == (3, of_all(worlds(1).run(content, 3)))
    assert list(tmp_path.iterdir()) == []


def test_memory_is_refused_for_more_than_one_rank():
    with pytest.raises(ScenarioError, match=r"memory:// is one process's, so the world must have 1 rank"):
        derive(checkpointers.get("dcp-fsspec-memory"), "save").validate_for(2)


def test_s3_is_refused_without_a_server():
    with pytest.raises(ScenarioError, match=r"option server must be 'http://KEY@HOST:PORT'"):
        S3Address("")


# dcp-fsspec-s3 starts new ranks for each plan, since a thread of fsspec's stays: fewer plans of it
POINTS = {
    "dcp-fsspec": ("writer.finish", "fs.open", "fs.write", "fs.rename"),
    "dcp-fsspec-s3": ("fs.create_stream",),
    "dcp-s3": ("fs.*",),
}


@pytest.mark.parametrize("name", FILES)
def test_an_error_at_each_point_of_the_store_reaches_every_rank(name):
    journal = sweep(f"{name}.save", world=2, timeout=60, points=POINTS[name])  # which starts the server

    broken = {str(one.plan): one.verdict for one in journal.results if str(one.verdict) != "HELD"}
    assert not broken and len(journal.results) >= 2
    assert any("fs." in str(one.plan) and "@1" in str(one.plan) for one in journal.results)


@pytest.mark.parametrize("name", IN_S3)
def test_what_is_damaged_in_the_directory_is_damaged_in_s3(worlds, tmp_path, name, options):
    of_all(worlds(2).run(save, name, tmp_path, 1, allow_residue=KEPT, **options))
    metadata = tmp_path / "step-1" / ".metadata"
    metadata.write_bytes(metadata.read_bytes()[:-20])

    run = worlds(2).run(load, name, tmp_path, allow_residue=KEPT, **options)

    assert {outcome.kind for outcome in run.outcomes.values()} == {"raised"}


@pytest.mark.parametrize("name", IN_S3)
def test_what_is_damaged_at_rest_is_found_by_loads_from_s3(name):
    found = survey(name, world=2, actions=("delete",), samples=2)
    assert found.cases and {case.outcome for case in found.cases} == {"noticed"}


def test_a_job_that_saves_to_s3_lives_and_restarts():
    assert replay_history("dcp-s3", [("start", 2), ("save",), ("restart", 1)]).startswith("HELD")
