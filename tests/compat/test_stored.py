"""Stored checkpoints of several versions of torch load as what they were; what does not is told, and nothing runs."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import msgspec
import pytest

from faultkit.cli import main
from faultkit.compat import digest as digests
from faultkit.compat.comparing import compare
from faultkit.compat.digest import Digest, DigestError, Leaf, beside

pytestmark = pytest.mark.slow

STORED = Path(__file__).parent / "stored"
CHECKPOINTS = sorted(path for path in STORED.glob("torch-*/*") if path.is_dir())


def command(*words):
    with pytest.raises(SystemExit) as ended:
        main(["compat", *map(str, words)])
    return ended.value.code


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_another_torch_stored_is_the_same_for_every_reader(path):
    found = compare(path)
    assert found.is_same, (found.differences, found.changed)
    assert found.readers and found.digest.checkpointer == path.name
    assert found.digest.written_by["torch"].split("+")[0] == path.parent.name.removeprefix("torch-")
    assert len(found.digest.leaves) == (8 if path.name == "dcp-hf" else 12)


def test_each_version_stored_each_format():
    names = {(path.parent.name, path.name) for path in CHECKPOINTS}
    formats = ("dcp", "dcp-hf", "safetensors", "torch-save")
    assert names == {(f"torch-{torch}", name) for torch in ("2.13.0", "2.14.1") for name in formats}


@pytest.fixture
def copied(tmp_path):
    """A stored checkpoint that may be changed, with its digest."""

    def copy(name="safetensors"):
        path = tmp_path / name
        source = STORED / "torch-2.13.0" / name
        shutil.copytree(source, path)
        shutil.copy(beside(source), beside(path))
        return path

    return copy


def resigned(path, **changes):
    """The digest with other fields, and the SHA-256 of these: as somebody else may have written it."""
    place = beside(path)
    found = msgspec.structs.replace(digests.read(place), **changes)
    digests.write(found, place)
    return found


# -- a difference: 1, with names -------------------------------------------------------------------------------------


def test_what_is_something_else_is_told_by_name(copied, capsys):
    path = copied()
    leaves = dict(digests.read(beside(path)).leaves)
    del leaves["lr"]
    leaves["gone"] = Leaf("0", type="int")
    leaves["scalar"] = msgspec.structs.replace(leaves["scalar"], dtype="float64")
    leaves["empty"] = msgspec.structs.replace(leaves["empty"], shape=(0, 4))
    leaves["step"] = msgspec.structs.replace(leaves["step"], sha256="0")
    resigned(path, leaves=leaves)
    assert command(path) == 1
    lines = [
        line.strip().removeprefix("read by safe_open: ") for line in capsys.readouterr().out.splitlines()[1:]
    ]
    assert sorted(lines) == [
        "'empty' is float32[0, 3] in place of float32[0, 4]",
        "'gone' is not there",
        "'lr' was not there",
        "'scalar' is float32[] in place of float64[]",
        "'step' has other values",
    ]


def test_a_damaged_value_is_told_with_its_file(copied, capsys, tmp_path):
    path = copied()
    file = path / "step-2" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 0xFF
    file.write_bytes(data)
    told = tmp_path / "told.json"
    assert command(path, "--json", told) == 1
    found = json.loads(told.read_text())
    assert found["changed_files"] == ["step-2/model.safetensors"]
    [difference] = found["differences"]
    assert difference.endswith("has other values")
    assert "these files are not as they were written: step-2/model.safetensors" in capsys.readouterr().out


def test_a_file_that_is_cut_is_told_with_the_error(copied, capsys):
    path = copied("torch-save")
    file = path / "step-2" / "state.pt"
    file.write_bytes(file.read_bytes()[:1000])
    assert command(path) == 1
    told = capsys.readouterr().out
    assert "step-2/state.pt" in told and "read by mmap: raised " in told


# -- a digest that is none: 2, one line ------------------------------------------------------------------------------


def refused(path, capsys):
    assert command(path) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_without_a_digest_nothing_is_compared(copied, capsys):
    path = copied()
    beside(path).unlink()
    assert "there must be a digest beside the checkpoint" in refused(path, capsys)
    assert "must be a directory" in refused(path / "none", capsys)


def test_a_damaged_digest_is_refused(copied, capsys):
    path = copied()
    place = beside(path)
    place.write_text(place.read_text().replace('"bfloat16"', '"float16"'))
    assert "is not as it was written: its SHA-256 is another" in refused(path, capsys)
    place.write_bytes(place.read_bytes()[:100])
    assert "is no digest" in refused(path, capsys)


def test_an_unknown_schema_is_refused(copied, capsys):
    path = copied()
    resigned(path, schema=2)
    assert "a digest must be of schema 1 (got 2" in refused(path, capsys)


GOOD = Digest(1, "dcp", {}, {"a": Leaf("0", dtype="int8", shape=(1,))}, {}).signed()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        '{"schema": 1' + "0" * 5_000 + "}",
        '{"schema": 1, "schema": "1"}',
        '{"schema": 1, "checkpointer": 7}',
        '{"schema": 1e400}',
        msgspec.json.encode(GOOD).decode().replace("[1]", "[1" + "0" * 40 + "]"),
        msgspec.json.encode(GOOD).decode().replace("[1]", '["../x"]'),
        msgspec.json.encode(GOOD).decode().replace('"written_by"', '"exec": "x", "written_by"'),
        "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"),
    ],
)
def test_what_is_no_digest_is_one_line(tmp_path, text):
    place = tmp_path / "x.digest.json"
    place.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DigestError) as caught:
        digests.read(place)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "", "a//b", "./a"])
def test_a_digest_that_names_a_file_outside_is_refused(tmp_path, name):
    place = tmp_path / "x.digest.json"
    digests.write(msgspec.structs.replace(GOOD, files={name: "0"}), place)
    with pytest.raises(DigestError, match="must name files of the checkpoint alone"):
        digests.read(place)


def test_a_digest_that_is_too_large_is_not_read(tmp_path):
    place = tmp_path / "x.digest.json"
    place.touch()
    os.truncate(place, digests.BYTES_MAX + 1)
    with pytest.raises(DigestError, match="must have at most"):
        digests.read(place)


def test_huge_numbers_in_a_digest_make_nothing_huge(copied, capsys):
    path = copied()
    leaves = dict(digests.read(beside(path)).leaves)
    leaves["scalar"] = Leaf("0", dtype="float32", shape=(2**62, 2**62, 2**62))
    resigned(path, leaves=leaves)
    assert command(path) == 1
    assert "'scalar' is float32[] in place of float32[4611686018427387904" in capsys.readouterr().out


def test_code_that_a_digest_names_is_not_imported(copied, capsys, tmp_path, monkeypatch):
    path = copied()
    (tmp_path / "ran_by_a_digest.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    resigned(path, checkpointer="ran_by_a_digest:MINE")
    assert "names code of somebody's own, 'ran_by_a_digest:MINE'" in refused(path, capsys)
    assert not (tmp_path / "ran").exists()
    resigned(path, checkpointer="dcp,threads=x")
    assert "threads must be a whole number" in refused(path, capsys)


# -- a checkpoint that is more than one ------------------------------------------------------------------------------


class Runs:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_a_pickle_in_a_checkpoint_runs_nothing(copied, capsys, tmp_path):
    path = copied("dcp")
    marker = tmp_path / "ran"
    (path / "step-2" / ".metadata").write_bytes(pickle.dumps(Runs(str(marker))))
    resigned(path, files=digests.files_in(path))  # whoever wrote it wrote the digest, too
    assert command(path) == 1
    told = capsys.readouterr().out
    assert (
        told.count("a pickle in a checkpoint may name the engine's own classes alone (got 'posix.mkdir')")
        == 3
    )
    assert not marker.exists()


def test_a_checkpoint_that_names_a_file_outside_is_not_followed(copied, capsys, tmp_path):
    path = copied("dcp")
    outside = tmp_path / "outside"
    shutil.copy(path / "step-2" / "__0_0.distcp", outside)
    metadata = path / "step-2" / ".metadata"
    renamed = pickle.loads(metadata.read_bytes())
    for info in renamed.storage_data.values():
        if info.relative_path == "__0_0.distcp":
            info.relative_path = str(outside)
    metadata.write_bytes(pickle.dumps(renamed))
    resigned(path, files=digests.files_in(path))
    assert command(path) == 1
    told = capsys.readouterr().out
    for reader in ("from_keys", "dcp_to_torch_save", "files"):
        assert f"read by {reader}: raised " in told
    assert told.count("ForbiddenFile: a checkpoint may name its own files alone") == 3


def test_a_link_in_a_checkpoint_is_refused(copied, capsys):
    path = copied()
    (path / "link").symlink_to("/etc/passwd")
    assert "must have no link in it" in refused(path, capsys)


# -- making one ------------------------------------------------------------------------------------------------------


def test_one_is_made_and_is_the_same(tmp_path, capsys):
    path = tmp_path / "new"
    state = "{'rows': Sharded((3, 2)), 'step': 7}"
    assert command(path, "--write", "--checkpointer", "dcp,threads=2", "--state", state) == 0
    assert command(path) == 0
    assert "all 2 leaves are the same" in capsys.readouterr().out
    assert command(path, "--write") == 2
    assert "there is a digest already" in capsys.readouterr().err


def test_a_digest_is_made_of_a_checkpoint_that_is_there(copied):
    path = copied("dcp") / "step-2"  # that of the engine alone, without a directory of steps
    assert command(path, "--write") == 0
    assert compare(path).is_same


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--checkpointer", "dcpp"], "did you mean 'dcp'"),
        (["--checkpointer", "dcp-rank-local"], "has no read and no readers"),
        (["--state", "{'a': open('x')}"], "a state is made of"),
    ],
)
def test_what_cannot_be_made_is_one_line(tmp_path, capsys, words, told):
    assert command(tmp_path / "new", "--write", *words) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
