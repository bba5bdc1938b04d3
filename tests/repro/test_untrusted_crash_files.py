"""A kept crash file that a stranger wrote: nothing of it runs, nothing is written outside of DIR, one line says why."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import zlib
from pathlib import Path

import msgspec
import pytest
import torch

from faultkit import crash
from faultkit.cli import main
from faultkit.crash import control
from faultkit.crash.loading import engine_classes
from faultkit.known import identity_of
from faultkit.recording import kept_limits
from faultkit.repro import crash_file

pytestmark = pytest.mark.slow

WITNESS = "witness"  # what the command of a file would make
TREE = {"out": None, "out/state": ["file", b"x"], "out/last": ["link", b"state"]}


def held(root: Path) -> dict:
    """What a sound file holds: a command, and one violation."""
    finding = {
        "text": "ERROR (allowed: NEW)",
        "verdict": "ERROR",
        "allowed": ["NEW"],
        "key": "k",
        "tree": TREE,
    }
    job = {"train": ["python", "-c", f"open({str(root / WITNESS)!r}, 'w')", "{out}"]}
    told = {"findings": [finding], "new_tree": TREE, "old_tree": None, "scenario": "", "job": job}
    return copy.deepcopy(told)


def packed(told: object) -> bytes:
    return crash_file.MARK + zlib.compress(msgspec.msgpack.encode(told))


@pytest.fixture
def replayed(tmp_path, capsys):
    """Replays a file with that content; gives (status, stdout, stderr), and holds it to having done nothing outside."""

    def replay(content: bytes, *more: str):
        file = tmp_path / "found.crash"
        file.write_bytes(content)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as ended:
            main(["crash", "--replay", str(file), "--into", str(tmp_path / "into" / "look"), *more])
        inside = tmp_path / "into"
        assert [path for path in sorted(tmp_path.rglob("*")) if not path.is_relative_to(inside)] == before
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return replay


def assert_refused(result, directory: Path, told: str = ""):
    status, out, err = result
    assert (status, out) == (2, "") and not (directory / "into").exists()
    assert err.startswith("faultkit: ") and err.count("\n") == 1 and err[:-1].isprintable() and told in err


def test_what_a_file_would_run_is_shown_and_needs_trust(replayed, tmp_path):
    told = held(tmp_path)
    assert_refused(replayed(packed(told)), tmp_path, "would run the command python -c 'open(")
    told["job"]["resume"] = ["sh", "-c", "\x1b[2J\nrm {out}"]
    assert_refused(replayed(packed(told)), tmp_path, r"the command sh -c '\x1b[2J\nrm {out}', on")
    del told["job"]
    told["scenario"] = "of_a_stranger:SAVE"
    assert_refused(
        replayed(packed(told)), tmp_path, "would run the load of the scenario 'of_a_stranger:SAVE'"
    )


def test_with_trust_it_runs_on_the_state_made_in_the_directory(replayed, tmp_path):
    told = held(tmp_path)
    told["job"] = {
        "train": ["python", "-c", "import sys; assert open(sys.argv[1] + '/last').read() == 'x'", "{out}"]
    }
    told["findings"][0]["text"] = "\x1b]0;title\x07ERROR"
    status, out, err = replayed(packed(told), "--trust")
    assert (status, err) == (0, "") and "loaded again: NEW  (it was another)" in out
    assert "\\x1b]0;title\\x07ERROR\n" in out and "\x1b" not in out
    look = tmp_path / "into" / "look" / "out"
    assert (look / "state").read_bytes() == b"x" and os.readlink(look / "last") == "state"


NAMES = [
    "/abs", "//abs", "..", "../up", "out/../../up", "out/..", "./here", ".", "", "out/", "out//twice", "out/./x",
    "out/\0zero", "\0", "/", "//", "/..", "a/../../b", "out/state/in-a-file", "out/last/through-a-link",
    "out/last/../../x", "out/" + 3_000_000 * "a/" + "x",
]  # fmt: skip
PLACES = ("finding", "new_tree", "old_tree")
CONTENTS = {"file": ["file", b"x"], "directory": None, "link": ["link", b"x"]}


def _with_name(told: dict, place: str, name: str, content: object) -> dict:
    tree = told["findings"][0]["tree"] if place == "finding" else dict(TREE)
    tree[name] = content
    if place != "finding":
        told[place] = tree
    return told


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:30]))
def test_names_that_lead_out_of_the_directory_are_refused(replayed, tmp_path, name, place, content):
    told = _with_name(held(tmp_path), place, name, CONTENTS[content])
    assert_refused(replayed(packed(told), "--trust"), tmp_path, "a name in a tree must")


def test_a_link_of_the_tree_may_lead_anywhere_and_nothing_goes_through_it(replayed, tmp_path):
    told = held(tmp_path)
    tree = {"out": ["link", str(tmp_path).encode()], "out/of-a-stranger": ["file", b"x"]}
    told["findings"][0]["tree"] = tree
    assert_refused(replayed(packed(told), "--trust"), tmp_path, "must lie in directories alone")
    told["findings"][0]["tree"] = dict(reversed(tree.items()))
    assert_refused(replayed(packed(told), "--trust"), tmp_path, "must lie in directories alone")


WRONG = {
    "findings": [None, 3, "x", {}, [], [None], [3], [[]], [{}]],
    "findings.text": [None, 3, [], {}, b"x"],
    "findings.verdict": [None, 3, "", "new", "UNHEARD", "\x1b[31mMIX"],
    "findings.allowed": [None, 3, "NEW", ["new"], [3], [None]],
    "findings.key": [None, 3, [], b"k"],
    "findings.tree": [None, 3, "x", [], {"a": 3}, {"a": "text"}, {"a": b"bytes"}, {"a": []}, {"a": ["file"]},
                      {"a": ["file", 1 << 40]}, {"a": ["file", "text"]}, {"a": ["link", 3]}, {"a": ["link", b"\xff"]},
                      {"a": ["link", b""]}, {"a": ["link", b"a\0b"]}, {"a": ["fifo", b""]}, {"a": ["file", b"", b""]},
                      {"a": {}}, {"a": True}, {3: None}, {None: None}, {b"a": None}],
    "new_tree": [None, 3, "x", [], {"a": 3}, {"a": ["file", 7]}, {3: None}],
    "old_tree": [3, "x", [], {"a": 3}, {"a": ["link", [b"x"]]}],
    "scenario": [None, 3, [], {}, "dcp-fresh", "a\0b"],
    "job": [3, "x", [], {}, {"train": []}, {"train": "x {out}"}, {"train": ["x"]}, {"train": [3, "{out}"]},
            {"train": ["x", "{out}"], "ranks": 0}, {"train": ["x", "{out}"], "ranks": 1 << 40},
            {"train": ["x", "{out}"], "ranks": True}, {"train": ["x", "{out}"], "ranks": "2"},
            {"train": ["x", "{out}"], "values": "("}, {"train": ["x", "{out}"], "values": 3},
            {"train": ["x", "{out}"], "step": "no group"}, {"train": ["x", "{out}"], "results": ["/etc/passwd"]},
            {"train": ["x", "{out}"], "checkpoints": "x"}, {"train": ["x\0", "{out}"]},
            {"train": ["x", "{out}"], "resume": ["y"]}],
    "complete": [3, "x", [3], [["n"]], [["n", "s", {}]], [["n", 1, {"f": "text"}]]],
    "finished": [None, 3, []],
    "timeout_seconds": [None, "x", 0.0, -1.0, float("inf"), float("nan"), 1e9, []],
}  # fmt: skip


def _wrong():
    return [(field, value) for field, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("field", "value"), _wrong(), ids=repr)
def test_fields_of_other_types_and_out_of_range_are_refused(replayed, tmp_path, field, value):
    told = held(tmp_path)
    name, _, inner = field.partition(".")
    if inner:
        told[name][0][inner] = value
    else:
        told[name] = value
    assert_refused(replayed(packed(told), "--trust"), tmp_path, "holds no kept violations: ")


SOUND = packed(held(Path("/nowhere")))
BODIES = {
    "nothing": b"",
    "another file": b"PK\x03\x04",
    "a pickle": pickle.dumps({"findings": []}),
    "only the mark": crash_file.MARK,
    "no zlib": crash_file.MARK + b"x" * 100,
    "cut short": SOUND[:-5],
    "half": SOUND[: len(SOUND) // 2],
    "another mark": SOUND.replace(b"crash 1", b"crash 9"),
    "no msgpack": crash_file.MARK + zlib.compress(b"\xc1"),
    "more behind": crash_file.MARK + zlib.compress(msgspec.msgpack.encode(held(Path("/nowhere"))) + b"x"),
    "a list": packed([]),
    "a number": packed(3),
    "a field too few": packed({"findings": []}),
    "deep": crash_file.MARK + zlib.compress(b"\x91" * 100_000),
}


@pytest.mark.parametrize("body", BODIES)
def test_other_files_are_refused(replayed, tmp_path, body):
    assert_refused(replayed(BODIES[body], "--trust"), tmp_path, "holds no kept violations: ")


def test_a_file_that_grows_without_end_is_refused(replayed, tmp_path, monkeypatch):
    monkeypatch.setattr(crash_file, "CONTENT_BYTES_MAX", 1 << 20)
    bomb = crash_file.MARK + zlib.compress(bytes(4 << 20))
    assert_refused(replayed(bomb), tmp_path, "must hold at most")


def _of_many(told: dict, many: bytes) -> bytes:
    """A file whose new_tree is `many`, which is packed already."""
    head, tail = msgspec.msgpack.encode({**told, "new_tree": "HERE"}).split(b"\xa4HERE")
    return crash_file.MARK + zlib.compress(head + many + tail)


def _files(count: int) -> bytes:
    entry = b"\xa8%08d\x92\xa4file\xc4\x00"
    return b"\xdf" + count.to_bytes(4, "big") + b"".join(entry % number for number in range(count))


def test_a_file_of_too_many_entries_is_refused_before_they_are_made(replayed, tmp_path, monkeypatch):
    told = held(tmp_path)
    many = _of_many(told, _files(2000))
    assert len(crash_file.read(many).new) == 2000
    with monkeypatch.context() as patch:
        patch.setattr(kept_limits, "ENTRY_COUNT_MAX", 8000)
        patch.setattr(msgspec.msgpack, "decode", pytest.fail)
        assert_refused(replayed(many, "--trust"), tmp_path, "must hold at most 8000 entries")
    claimed = b"\xdf\xff\xff\xff\xff"  # so many, of which none is there
    assert_refused(replayed(_of_many(told, claimed)), tmp_path, "must hold at most 4000000 entries")


def test_names_that_imply_too_many_directories_are_refused(replayed, tmp_path):
    told = held(tmp_path)
    told["old_tree"] = {"d/" * 1000 + str(number): None for number in range(1000)}
    assert_refused(replayed(packed(told), "--trust"), tmp_path, "must come to at most 1000000 directories")
    told["old_tree"] = {"d/" * 1000 + str(number): None for number in range(3)}
    assert len(crash_file.read(packed(told)).old) == 3


class _Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture(scope="module")
def stock_file():
    found = crash.explore("dcp-fresh,elements=8", models=("killed",), world=1, workers=1)
    # a correct save in this model: one of its states stands for a violation
    shown = crash.Finding(
        models=("killed",), phase="during", verdict="ABSENT", allowed=("NEW",), at="", lost=(), where=(), detail="",
        state_count=1, state=next(iter(crash.states(found.recording, "killed"))),
        identity=identity_of("crash", "ABSENT"),
    )  # fmt: skip
    return crash_file.keep(msgspec.structs.replace(found, findings=(shown,)), scenario="dcp-fresh,elements=8")


@pytest.mark.parametrize("evil", [True, False])
def test_a_load_of_the_engine_unpickles_its_own_classes_alone(replayed, tmp_path, stock_file, evil):
    told = msgspec.msgpack.decode(zlib.decompress(stock_file[len(crash_file.MARK) :]))
    tree = dict(told["new_tree"])
    witness = tmp_path / WITNESS
    if evil:
        tree["checkpoint/.metadata"] = ["file", pickle.dumps(_Runs(str(witness)))]
    told["findings"][0]["tree"] = tree
    status, out, err = replayed(packed(told))
    assert not witness.exists() and err == ""
    if evil:
        assert status == 1 and "loaded again: ERROR: " in out
        assert "may name the engine's own classes alone (got 'posix.mkdir')" in out
    else:
        assert status == 0 and "loaded again: NEW" in out


class _Script(torch.nn.Module):
    """Writes a file when it is loaded, as TorchScript and not as Python."""

    def __init__(self, path: str):
        super().__init__()
        self.path: str = path

    @torch.jit.export
    def __getstate__(self):
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.path, self.training = state
        torch.save(torch.ones(1), state[0])

    def forward(self, given):
        return given


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_a_load_of_the_engine_runs_no_torchscript(replayed, tmp_path, stock_file):
    witness, program = tmp_path / WITNESS, io.BytesIO()
    torch.jit.save(torch.jit.script(_Script(str(witness))), program)
    told = msgspec.msgpack.decode(zlib.decompress(stock_file[len(crash_file.MARK) :]))
    tree = dict(told["new_tree"])
    metadata = pickle.loads(tree["checkpoint/.metadata"][1])
    (place,) = (found for index, found in metadata.storage_data.items() if index.fqn == "step")
    place.offset, place.length = 0, len(program.getvalue())
    place.relative_path = "of-a-stranger"
    tree["checkpoint/.metadata"] = ["file", pickle.dumps(metadata)]
    tree["checkpoint/of-a-stranger"] = ["file", program.getvalue()]
    told["findings"][0]["tree"] = tree
    status, out, err = replayed(packed(told))
    assert not witness.exists() and (status, err) == (1, "")
    assert "(got a TorchScript archive, which is a program)" in out
    with pytest.warns(UserWarning, match="TorchScript"):
        torch.load(io.BytesIO(program.getvalue()), weights_only=False)
    assert witness.exists()  # so it would have


DATA = "checkpoint/__0_0.distcp"


@pytest.mark.parametrize(
    "way", ["a name above", "an absolute name", "a link above", "a link within", "a name within"]
)
def test_a_load_of_the_engine_reads_files_of_the_checkpoint_alone(replayed, tmp_path, stock_file, way):
    told = msgspec.msgpack.decode(zlib.decompress(stock_file[len(crash_file.MARK) :]))
    tree = dict(told["new_tree"])
    content = tree.pop(DATA)
    (tmp_path / "secret").write_bytes(content[1])  # else it would fail anyhow
    name = os.path.relpath(tmp_path / "secret", "/") if way == "a name above" else str(tmp_path / "secret")
    if way == "a name above":
        name = "../" * 40 + name
    if way.endswith("within"):
        tree["checkpoint/moved"] = content
        name = "moved"
    if "link" in way:
        tree[DATA] = ["link", name.encode()]
    else:
        metadata = pickle.loads(tree["checkpoint/.metadata"][1])
        for place in metadata.storage_data.values():
            place.relative_path = name
        tree["checkpoint/.metadata"] = ["file", pickle.dumps(metadata)]
    told["findings"][0]["tree"] = tree
    status, out, err = replayed(packed(told))
    assert err == ""
    if way.endswith("within"):
        assert status == 0 and "loaded again: NEW" in out
    else:
        assert status == 1 and "loaded again: ERROR: " in out
        assert (
            "a link in a checkpoint may lead to" in out
            if "link" in way
            else "may name its own files alone" in out
        )


def test_a_manifest_names_files_beside_it(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    for directory in (tmp_path, tmp_path / "checkpoint"):
        torch.save({"step": 1}, directory / "part")
    for names, is_sound in ((["part"], True), (["../part"], False), ([str(tmp_path / "part")], False)):
        (tmp_path / "checkpoint" / "manifest").write_text(json.dumps(names))
        if is_sound:
            assert control.load(tmp_path / "checkpoint") == {"step": 1}
        else:
            with pytest.raises(ValueError, match="a manifest must name files beside it"):
                control.load(tmp_path / "checkpoint")


def test_all_that_the_engine_writes_is_known(tmp_path):
    import torch.distributed.checkpoint as dcp

    dtypes = (torch.float32, torch.bfloat16, torch.int8, torch.bool, torch.complex64)
    state = {str(dtype): torch.zeros(2, dtype=dtype) for dtype in dtypes}
    state["strided"] = torch.zeros(1, 2, 3, 3).to(memory_format=torch.channels_last)
    state["nested"] = {"step": 1, "list": [1, "two"]}
    dcp.save(state, checkpoint_id=tmp_path / "checkpoint", no_dist=True)
    named = []

    class Noting(pickle.Unpickler):
        def find_class(self, module, name):
            named.append((module, name))
            return super().find_class(module, name)

    with open(tmp_path / "checkpoint" / ".metadata", "rb") as stream:
        Noting(stream).load()
    assert len(named) > 10 and [one for one in named if not engine_classes._is_known(*one)] == []
    for module, name in (("builtins", "eval"), ("posix", "system"), ("torch", "load"), ("torch.hub", "load")):
        assert not engine_classes._is_known(module, name)
