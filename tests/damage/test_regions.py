"""Files are cut where their real formats say; what is cut is all of the file."""

import io
import itertools
import json
import pickle
import struct

import pytest
import torch
import torch.distributed.checkpoint as dcp

from faultkit.damage import Region, regions_of
from faultkit.damage.regions import KINDS, regions_of_file


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Files of a real checkpoint by name."""
    directory = tmp_path_factory.mktemp("checkpoint")
    state = {
        "weight": torch.arange(300.0),
        "bias": torch.ones(7, dtype=torch.int64),
        "nested": {"step": [1, 2]},
    }
    dcp.save(state, checkpoint_id=directory, no_dist=True)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def covered(data, regions):
    assert regions[0].start == 0 and regions[-1].stop == len(data)
    assert all(one.stop == other.start for one, other in itertools.pairwise(regions))
    assert {region.kind for region in regions} <= set(KINDS)


def test_a_shard_is_cut_into_the_parts_of_its_archives(checkpoint):
    data = checkpoint["__0_0.distcp"]
    regions = regions_of_file("__0_0.distcp", data)
    covered(data, regions)
    values = {data[r.start : r.stop] for r in regions if r.kind == "tensor bytes"}
    assert values == {
        torch.arange(300.0).numpy().tobytes(),
        torch.ones(7, dtype=torch.int64).numpy().tobytes(),
    }
    pickles = [data[r.start : r.stop] for r in regions if r.kind == "pickle"]
    assert len(pickles) == 3 and all(one[-1:] == b"." for one in pickles)  # STOP, the last opcode
    assert sum(region.kind == "zip end" for region in regions) == 3
    assert not any(region.kind == "bytes" for region in regions)


def test_padding_and_headers_are_apart(checkpoint):
    data = checkpoint["__0_0.distcp"]
    regions = regions_of_file("", data)
    padding = [data[r.start : r.start + 2] for r in regions if r.kind == "zip padding"]
    assert padding and set(padding) == {b"FB"}
    starts = {data[r.start : r.start + 4] for r in regions if r.kind == "zip header"}
    assert starts == {b"PK\x03\x04", b"PK\x07\x08"}
    assert {data[r.start : r.start + 4] for r in regions if r.kind == "zip directory"} == {b"PK\x01\x02"}


def test_metadata_is_cut_at_its_fields(checkpoint):
    data = checkpoint[".metadata"]
    regions = regions_of_file(".metadata", data)
    covered(data, regions)
    assert [region.kind for region in regions] == [
        "metadata head", "metadata tensors", "metadata planner", "metadata storage", "metadata other",
    ]  # fmt: skip
    text = {region.kind: data[region.start : region.stop] for region in regions}
    assert (
        b"TensorStorageMetadata" in text["metadata tensors"] and b"__0_0.distcp" in text["metadata storage"]
    )


def test_a_file_of_torch_save_alone_is_one_archive():
    stream = io.BytesIO()
    torch.save({"weight": torch.zeros(10)}, stream)
    regions = regions_of_file("x.pt", stream.getvalue())
    covered(stream.getvalue(), regions)
    assert [r.size for r in regions if r.kind == "tensor bytes"] == [40]


def test_safetensors_are_cut_at_their_tensors():
    header = json.dumps({
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]},
    }).encode()  # fmt: skip
    data = struct.pack("<Q", len(header)) + header + bytes(12)
    regions = regions_of_file("model.safetensors", data)
    covered(data, regions)
    assert [(r.kind, r.name, r.size) for r in regions] == [
        ("header length", "", 8), ("header", "", len(header)), ("tensor bytes", "b", 8), ("tensor bytes", "a", 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"PK\x03\x04 is no archive",
        b"\x80\x04 no pickle",
        pickle.dumps([1, 2]),
        b"\0" * 40,
        b'{"a": 1}' * 9,
    ],
)
def test_what_is_not_known_is_one_region(data):
    assert regions_of_file("x", data) == (Region("x", "bytes", 0, len(data)),)


def test_a_shard_that_is_cut_off_is_followed_as_far_as_it_goes(checkpoint):
    data = checkpoint["__0_0.distcp"]
    whole = regions_of_file("x", data)
    second = next(region for region in whole if region.kind == "zip end").stop
    regions = regions_of_file("x", data[: second + 100])
    covered(data[: second + 100], regions)
    assert regions[-1] == Region("x", "bytes", second, second + 100)


def test_a_tree_has_no_regions_in_directories_and_empty_files():
    assert regions_of({"d": None, "d/empty": b"", "d/file": b"abc"}) == (Region("d/file", "bytes", 0, 3),)
