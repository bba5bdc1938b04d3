"""States of real size: what the checks find in them, and that no copy of the state is kept for it.

Memory is what the kernel counts as the peak of one process, from a moment before the work to its end.
"""

from __future__ import annotations

import pytest
import torch
import torch.distributed.checkpoint as dcp

from faultkit import World
from faultkit.injection.engine import content
from faultkit.injection.engine.stripes import STEP_BYTES, STRIPE_BYTES
from faultkit.worlds.checkpoint_loader import load_and_compare

pytestmark = pytest.mark.slow

MIB = 1 << 20
TENSOR_BYTES = 16 * MIB
LARGE = 320 * MIB  # above what is watched whole, and above what one part of a read-back has


def large_state(number, count=LARGE // TENSOR_BYTES):
    return {f"tensor {place}": torch.full((TENSOR_BYTES // 4,), number + place) for place in range(count)}


def grown(work):
    """By how many bytes this process was larger than now, at most, while `work` ran; and what that gave."""

    def of(name):
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))

    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")  # the peak begins anew
    before = of("VmRSS")
    result = work()
    return of("VmHWM") - before, result


def save_and_load(directory):
    state = large_state(1.0)
    dcp.save(state, checkpoint_id=directory, no_dist=True)
    target = large_state(0.0)
    added, _ = grown(lambda: dcp.load(target, checkpoint_id=directory, no_dist=True))
    assert all(torch.equal(target[name], value) for name, value in state.items())
    return added


def compare_in_parts(directory, broken):
    state = large_state(1.0)
    dcp.save(state, checkpoint_id=directory, no_dist=True)
    given = {name: [[*piece, 0] for piece in pieces] for name, pieces in content.fingerprint(state).items()}
    if broken:
        given["tensor 19"][0][2] = content.checksum(torch.zeros(4))
        given["never stored"] = given["tensor 3"]
    state.clear()
    return grown(lambda: load_and_compare(directory, None, given, None, {}))


@pytest.fixture(scope="module")
def one():
    with World(1, timeout=300) as world:
        yield world


def value_of(run):
    assert run.outcomes[0].kind == "returned", run.story()
    return run.outcomes[0].value


def test_a_load_of_a_large_state_is_watched_without_a_copy_of_it(one, tmp_path):
    run = one.run(save_and_load, str(tmp_path))
    assert run.verdict == "HELD", run.story()
    assert value_of(run) < 3 * LARGE // 4  # a sixteenth, and what the engine reads at once


@pytest.mark.parametrize("broken", [False, True])
def test_a_large_checkpoint_is_compared_in_parts_each_leaf_of_it(one, tmp_path, broken):
    added, found = value_of(one.run(compare_in_parts, str(tmp_path), broken, checks="fired"))
    assert found["error"] is None and len(found["content"]) == LARGE // TENSOR_BYTES
    assert found["wrong"] == (("never stored", "tensor 19") if broken else ())
    assert added < 3 * LARGE // 4  # what is read at once is kept for a while; a copy would be all of it


def save_large(directory):
    dcp.save(large_state(1.0), checkpoint_id=directory, no_dist=True)


def save_large_and_change_a_byte(directory):
    save_large(directory)
    [file] = directory.glob("*.distcp")
    with open(file, "r+b") as data:
        data.seek(LARGE // 2)
        byte = data.read(1)
        data.seek(LARGE // 2)
        data.write(bytes([byte[0] ^ 1]))


def test_one_changed_bit_of_a_large_checkpoint_is_told_and_a_sound_one_holds(one, tmp_path):
    sound, changed = tmp_path / "sound", tmp_path / "changed"
    run = one.run(save_large, sound, checkpoint_at=sound)
    assert run.verdict == "HELD" and [found.is_new for found in run.readbacks] == [True], run.story()
    run = one.run(save_large_and_change_a_byte, changed, checkpoint_at=changed)
    assert run.verdict == "SILENT_WRONG" and [len(found.wrong) for found in run.readbacks] == [1], run.story()


# -- holes ---------------------------------------------------------------------------------------------


def told_holes(hole_bytes, start):
    """What is told of a load that fills all but so many bytes from `start` of one large tensor; all comes back."""
    target = torch.arange(80 * MIB // 4, dtype=torch.int32)
    before, told = target.clone(), []
    with content.watching_targets({"one": target}, None, told.extend):
        as_bytes = target.view(torch.uint8)
        as_bytes[:start] = 7
        as_bytes[start + hole_bytes :] = 7
    left = before.view(torch.uint8)[start : start + hole_bytes]
    assert torch.equal(target.view(torch.uint8)[start : start + hole_bytes], left)
    return told


@pytest.mark.parametrize("start", [0, 4096, 12_345 * 4, 40 * MIB])
def test_a_hole_of_one_step_is_seen_wherever_it_lies(start):
    [(name, count, total, first)] = told_holes(STEP_BYTES + STRIPE_BYTES, start)
    assert (name, total) == ("one", 20 * MIB)
    assert start // 4 <= first < (start + STEP_BYTES + STRIPE_BYTES) // 4
    assert 0 < count <= (STEP_BYTES + STRIPE_BYTES) // 4


def test_the_end_is_watched_to_its_last_bytes():
    [(_, count, total, first)] = told_holes(8, 80 * MIB - 8)
    assert (count, first) == (2, total - 2)


def test_a_tensor_that_nobody_filled_is_told_whole_and_a_filled_one_not_at_all():
    assert told_holes(80 * MIB, 0) == [["one", 20 * MIB, 20 * MIB, 0]]
    assert told_holes(0, 0) == []
