"""What a file holds after writes and cuts, held to a bytearray; and that a recording is verified without copies."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from hypothesis import given
from hypothesis import strategies as st

from faultkit import World
from faultkit.recording import record
from faultkit.recording.written import COMPARED_BYTES, Written

MIB = 1 << 20
EACH_MIB = 64

changes = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 40), st.binary(max_size=20)),
    st.tuples(st.just("append"), st.just(0), st.binary(max_size=20)),
    st.tuples(st.just("truncate"), st.integers(0, 40), st.just(b"")),
)


@given(st.binary(max_size=20), st.lists(changes, max_size=12))
def test_it_holds_what_the_same_changes_make_of_a_bytearray(first, made):
    written, expected = Written(first), bytearray(first)
    for kind, place, data in made:
        if kind == "truncate":
            written.truncate(place)
            del expected[place:]
            expected.extend(bytes(place - len(expected)))
            continue
        offset = len(expected) if kind == "append" else place
        written.write(offset, data)
        if data:
            expected.extend(bytes(max(offset - len(expected), 0)))
            expected[offset : offset + len(data)] = data
    assert bytes(written) == expected and len(written) == len(expected)


@pytest.mark.parametrize("size", [0, 1, COMPARED_BYTES, COMPARED_BYTES + 1])
def test_a_file_is_the_same_only_with_every_byte_and_no_more(tmp_path, size):
    file = tmp_path / "file"
    content = bytes(range(256)) * (size // 256 + 1)
    written = Written(content[: size // 2])
    written.write(size // 2, content[size // 2 : size])
    file.write_bytes(content[:size])
    assert written.is_in(str(file))
    file.write_bytes(content[:size] + b"x")
    assert not written.is_in(str(file))
    if size:
        file.write_bytes(content[: size - 1])
        assert not written.is_in(str(file))
        file.write_bytes(content[: size - 1] + bytes([content[size - 1] ^ 1]))
        assert not written.is_in(str(file))


def save_much(directory):
    state = {f"of rank {dist.get_rank()}": torch.ones(EACH_MIB * MIB // 4)}
    dcp.save(state, checkpoint_id=directory)


def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))


@pytest.mark.slow
def test_the_caller_of_a_large_recording_holds_it_once(tmp_path):
    with World(2, timeout=300) as world:
        record(
            world, save_much, tmp_path / "first", root=tmp_path / "first"
        )  # what a first one needs besides
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")  # the peak begins anew
        before = memory("VmRSS")
        recorded = record(world, save_much, tmp_path / "second", root=tmp_path / "second")
        grown = memory("VmHWM") - before
    size = sum(len(one.data) for one in recorded.recording.operations if one.kind == "write")
    assert size > 2 * EACH_MIB * MIB
    assert grown < 2 * size  # a copy for the comparison would make it two, and the tree beside it three
