"""The reference keeps every promise: each of them is broken on purpose here, and every rank learns of it."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from faultkit import checkpointers
from tests.helpers.fixtures import worlds_by_size
from tests.helpers.saved_states import content, load, of_all, save, untouched

pytestmark = pytest.mark.slow

REFERENCE = checkpointers.get("reference")


@pytest.fixture(scope="module")
def worlds():
    with worlds_by_size() as world:
        yield world


@pytest.mark.parametrize("size", [1, 3])
def test_what_two_ranks_saved_is_loaded_by_any_number_of_them(worlds, tmp_path, size):
    worlds(2).run(save, "reference", tmp_path, 7).raise_for_violations()
    loaded = worlds(size).run(load, "reference", tmp_path)
    assert of_all(loaded) == (7, of_all(worlds(size).run(content, 7)))
    assert REFERENCE.steps(tmp_path) == [7]


def test_it_is_read_in_one_process_without_a_group(worlds, tmp_path):
    assert REFERENCE.read(tmp_path) is None
    worlds(2).run(save, "reference", tmp_path, 7).raise_for_violations()
    found = {
        name: getattr(value, "tolist", lambda v=value: v)()
        for name, value in REFERENCE.read(tmp_path).items()
    }
    expected = of_all(worlds(1).run(content, 7))
    expected["optimizer.exp_avg"] = expected.pop("optimizer")["exp_avg"]
    assert found == expected


@pytest.mark.parametrize(
    ("plan", "failed"),
    [
        ('fs.open("rank-1.pt")@1=raise(OSError, ENOSPC)', {1: "OSError"}),
        ('fs.rename("*.saving")@0=raise(OSError, EIO)', {0: "OSError"}),
        ('fs.rename("*.saving"):after@0#1=raise(OSError, EIO)', {0: "OSError"}),
        ('fs.rename("*.saving")@0#1=lie', {0: "OSError"}),
        ("fs.listdir@1=raise(PermissionError)", {1: "PermissionError"}),
        ("fs.write@1=raise(KeyboardInterrupt)", {1: "KeyboardInterrupt"}),
    ],
)
def test_every_rank_learns_who_failed_and_the_old_checkpoint_stays(worlds, tmp_path, plan, failed):
    worlds(2).run(save, "reference", tmp_path, 1).raise_for_violations()
    run = worlds(2).run(save, "reference", tmp_path, 2, plan=plan)
    assert run.fired
    for outcome in run.outcomes.values():
        assert {rank: name for rank, (name, _) in outcome.failures.items()} == failed
    assert REFERENCE.steps(tmp_path) == [1]
    worlds(2).run(save, "reference", tmp_path, 3).raise_for_violations()  # which removes what was left
    assert sorted(path.name.partition(".")[0] for path in tmp_path.iterdir()) == ["step-1", "step-3"]


@pytest.mark.parametrize("file", ["index.json", "rank-0.pt", "rank-1.pt"])
@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_damage_is_refused_on_every_rank_and_nothing_is_loaded(worlds, tmp_path, file, damage):
    for step in (1, 2):
        worlds(2).run(save, "reference", tmp_path, step).raise_for_violations()
    path = tmp_path / "step-2.2" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data) if damage == "flip" else path.unlink()
    name = "DamagedCheckpoint" if damage == "flip" else "FileNotFoundError"
    told, state = of_all(worlds(2).run(load, "reference", tmp_path))
    assert told == {0: name, 1: name}
    assert state == of_all(worlds(2).run(untouched))
    assert of_all(worlds(2).run(load, "reference,fallback=true", tmp_path)) == (
        1,
        of_all(worlds(2).run(content, 1)),
    )
    run = worlds(2).run(REFERENCE.prune, tmp_path, 1)
    assert {outcome.type_name for outcome in run.outcomes.values()} == {"CheckpointException"}
    assert REFERENCE.steps(tmp_path) == [1, 2]


def test_an_error_of_the_system_is_no_reason_to_fall_back(worlds, tmp_path):
    for step in (1, 2):
        worlds(2).run(save, "reference", tmp_path, step).raise_for_violations()
    plan = 'fs.open("step-2.2/rank-0.pt")@1=raise(OSError, EIO)'
    told, _ = of_all(worlds(2).run(load, "reference,fallback=true", tmp_path, plan=plan))
    assert told == {1: "OSError"}


def test_a_listing_that_lags_on_one_rank_hides_nothing(worlds, tmp_path):
    for step in (1, 2):
        worlds(2).run(save, "reference", tmp_path, step).raise_for_violations()
    run = worlds(2).run(load, "reference", tmp_path, plan='fs.listdir("step-2.2")@0=missing')
    assert run.fired and of_all(run)[0] == 2
    run = worlds(2).run(save, "reference", tmp_path, 3, plan='fs.listdir("step-2.2")@0#1=missing')
    assert run.fired and REFERENCE.steps(tmp_path) == [1, 2, 3]


def test_a_step_that_is_saved_again_replaces_it_and_what_came_after(worlds, tmp_path):
    for step, number in ((1, 1), (2, 2), (3, 3), (2, 4)):
        worlds(2).run(save, "reference", tmp_path, step, number).raise_for_violations()
    assert REFERENCE.steps(tmp_path) == [1, 2]
    assert of_all(worlds(2).run(load, "reference", tmp_path)) == (2, of_all(worlds(2).run(content, 2, 4)))
    worlds(2).run(REFERENCE.prune, tmp_path, 1).raise_for_violations()
    assert REFERENCE.steps(tmp_path) == [2]


def save_other(directory, what):
    rank = dist.get_rank()
    state = {"weight": torch.zeros(3)}
    step = 1
    if what == "replicas":
        state["weight"] += rank
    elif what == "shapes":
        state["weight"] = torch.zeros(3 + rank)
    elif what == "steps":
        step += rank
    elif what == "places":
        directory = directory / str(rank)
        directory.mkdir()
    elif what == "objects":
        state["object"] = REFERENCE
    elif what == "holes":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import DTensor, Shard

        mesh = init_device_mesh("cpu", (2,))
        state["rows"] = DTensor.from_local(
            torch.zeros(1, 2), mesh, [Shard(0)], run_check=False, shape=torch.Size((4, 2)), stride=(2, 1)
        )
    REFERENCE.save(state, directory, step)


@pytest.mark.parametrize("what", ["replicas", "shapes", "steps", "places", "objects", "holes"])
def test_what_cannot_be_loaded_again_is_not_saved(worlds, tmp_path, what):
    run = worlds(2).run(save_other, tmp_path, what)
    assert {outcome.type_name for outcome in run.outcomes.values()} == {"CheckpointException"}
    assert not [path for path in tmp_path.rglob("step-*") if path.suffix != ".saving"]
