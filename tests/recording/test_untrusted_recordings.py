"""A recording that a stranger wrote: names lie under the root, numbers fit, or it is none; no tree leaves its place."""

from __future__ import annotations

import os

import msgspec
import pytest

from faultkit.crash import State, Witness
from faultkit.crash.enumeration.materialise import link_tree, write_tree
from faultkit.recording import Operation, Recording, RecordingError, kept_limits


def held() -> dict:
    """What a sound recording holds."""
    write = Operation(index=0, rank=0, thread=0, kind="write", path="a/b", data=b"x", offset=2)
    link = Operation(index=1, rank=0, thread=0, kind="symlink", path="a/l", target="/anywhere")
    moved = Operation(index=2, rank=0, thread=0, kind="rename", path="a/b", target="c")
    recording = Recording("/r", 1, 1, "python", {"a": None, "a/b": b""}, (write, link, moved), {"z": "../up"})
    return msgspec.msgpack.decode(recording.to_bytes())


def test_a_sound_recording_is_read():
    recording = Recording.from_bytes(msgspec.msgpack.encode(held()))
    assert recording.links == {"z": "../up"} and recording.operations[1].target == "/anywhere"


def refused(told: object) -> str:
    with pytest.raises(RecordingError, match=r"^not a recording: ") as raised:
        Recording.from_bytes(msgspec.msgpack.encode(told))
    assert str(raised.value).isprintable()
    return str(raised.value)


NAMES = ["/abs", "..", "../up", "a/../../b", "a/..", ".", "./a", "a/", "a//b", "a\0b", "/", "a/./b"]


@pytest.mark.parametrize("place", ["before", "links", "path", "target"])
@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_names_that_do_not_lie_under_the_root_are_refused(name, place):
    told = held()
    if place in ("before", "links"):
        told[place][name] = None if place == "before" else "x"
    else:
        told["operations"][2][place] = name
    assert "a name must lie under the root" in refused(told)


WRONG = {
    "world_size": [None, 0, -1, "2", 1.5],
    "block_size": [None, 0, "x"],
    "before": [None, [], {"a": "text"}, {"a": 3}, {3: None}, {"z": b"a link, too"}],
    "links": [None, {"a": b"bytes"}, {"a": 3}],
    "operations": [None, 3, {}, [None], [{}], [3]],
    "root": [None, 3, b"/r"],
    "notes": [3, [3]],
}
WRONG_OPERATIONS = {
    "kind": [None, 3, "", "system", "Rename"],
    "index": [None, -1, 1, 7, "0"],
    "rank": [None, -1, 1, 1 << 40],
    "thread": [None, -1, "x"],
    "offset": [None, -1, 1 << 32, 1 << 62],
    "after": [None, 0, 5, -2],
    "data": [None, 3, "text?"],
    "where": [3, [3]],
    "group": [3, ["x"]],
    "path": [None, 3, []],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values], ids=repr
)
def test_fields_of_other_types_and_out_of_range_are_refused(field, value):
    refused({**held(), field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in WRONG_OPERATIONS.items() for value in values],
    ids=repr,
)
def test_operations_of_other_types_and_out_of_range_are_refused(field, value):
    told = held()
    told["operations"][0][field] = value
    refused(told)


MIB = 1 << 20


@pytest.mark.parametrize("kind", ["write", "truncate"])
def test_files_that_are_holes_alone_are_refused_however_many_they_are(kind):
    told = held()
    operation = {**told["operations"][0], "kind": kind, "data": b"", "offset": 65 * MIB}
    told["operations"] = [operation]
    assert "must have at most 64 MiB that nobody wrote (got 65)" in refused(told)
    several = [
        {**operation, "index": place, "file": place, "offset": 13 * MIB, "after": -1} for place in range(5)
    ]
    assert "that nobody wrote (got 65)" in refused({**told, "operations": several})
    told["before"]["a/b"] = bytes(MIB)  # what was there is none
    assert Recording.from_bytes(msgspec.msgpack.encode(told)).operations[0].offset == 65 * MIB


def test_a_file_that_is_written_from_its_end_has_no_holes():
    told = held()
    one = {**told["operations"][0], "file": 1, "data": bytes(MIB)}
    told["operations"] = [{**one, "index": place, "offset": (69 - place) * MIB} for place in range(70)]
    assert len(Recording.from_bytes(msgspec.msgpack.encode(told)).operations) == 70


def test_more_entries_than_any_recording_has_are_refused_before_they_are_made():
    packed = msgspec.msgpack.encode({**held(), "notes": "HERE"})
    claimed = packed.replace(b"\xa4HERE", b"\xdd\xff\xff\xff\xff\xa1x")
    with pytest.raises(RecordingError, match=r"^not a recording: it must hold at most 4000000 entries"):
        Recording.from_bytes(claimed)
    assert "at most 1000000 directories" in refused(
        {**held(), "before": {f"{n}" + "/d" * 1000: None for n in range(1000)}}
    )


ENTRIES = [None, True, 3, -3, 200, -200, 1 << 20, -(1 << 20), 1 << 40, -(1 << 40), 0.5, "a", "a" * 40, "a" * 300,
           "a" * 70000, b"", b"b" * 300, b"b" * 70000, [1] * 20, [[]] * 70000, {"a": {"b": []}},
           {str(n): n for n in range(30)}, {str(n): [n] for n in range(70000)}, msgspec.msgpack.Ext(1, b"x"),
           msgspec.msgpack.Ext(1, b"x" * 7), msgspec.msgpack.Ext(1, b"x" * 300)]  # fmt: skip


def test_entries_are_counted_as_they_are_unpacked(monkeypatch):
    packed = msgspec.msgpack.encode(ENTRIES)
    count = 1 + sum(map(_entries, ENTRIES))
    monkeypatch.setattr(kept_limits, "ENTRY_COUNT_MAX", count)
    kept_limits.require_few_entries(packed)
    monkeypatch.setattr(kept_limits, "ENTRY_COUNT_MAX", count - 1)
    with pytest.raises(ValueError, match="at most"):
        kept_limits.require_few_entries(packed)


def _entries(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(_entries(part) for pair in value.items() for part in pair)
    return 1 + sum(map(_entries, value)) if isinstance(value, list) else 1


@pytest.mark.parametrize("name", ["../up", "/abs", "d/../../up", "link/in", "file/in"])
def test_a_tree_that_leaves_its_place_is_made_nowhere(tmp_path, name):
    place = tmp_path / "place"
    tree = {"d": None, "link": str(tmp_path), "file": b"", name: b"x"}
    with pytest.raises(ValueError, match=r"^a name in a tree must"):
        State("k", Witness("killed", ()), tree).write_to(place)
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "0").write_bytes(b"x")
    listing = [
        ("d", "directory", ""),
        ("link", "link", str(tmp_path)),
        ("file", "file", "0"),
        (name, "file", "0"),
    ]
    with pytest.raises(ValueError, match=r"^a name in a tree must"):
        link_tree(listing, str(tmp_path / "objects"), str(place))
    assert [one.name for one in tmp_path.iterdir()] == ["objects"]


def test_nothing_is_written_through_a_link_that_is_there_already(tmp_path):
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    (place / "d").symlink_to(elsewhere)
    for tree in ({"d": None}, {"d/x": b"x"}, {"d/e": None}, {"d": b"x"}):
        with pytest.raises(FileExistsError):
            write_tree(tree, place)
    assert os.listdir(elsewhere) == []
    (place / "e").mkdir()
    write_tree({"e": None, "e/x": b"x", "e/l": "../../elsewhere"}, place)  # what is a directory may stay
    assert (place / "e" / "x").read_bytes() == b"x"
