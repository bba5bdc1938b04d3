"""Faults on files that are no local files: fsspec in memory, fsspec on the disk, the Hugging Face writer."""

from __future__ import annotations

import contextlib
import io
import uuid
import warnings
from typing import ClassVar

import pytest
import torch
import torch.distributed.checkpoint as dcp

fsspec = pytest.importorskip("fsspec")
from torch.distributed.checkpoint import _fsspec_filesystem as by_fsspec  # noqa: E402


def state(value):
    return {"weight": torch.full((40, 40), value), "bias": torch.full((3,), value)}


class ObjectStore(fsspec.AbstractFileSystem):
    """Objects in this process as a store in the cloud has them: a file is there as a whole, once it is closed."""

    protocol = "faultkit-objects"
    cachable = False
    objects: ClassVar[dict[str, bytes]] = {}

    def _open(self, path, mode="rb", **kwargs):
        size = self.info(path)["size"] if mode == "rb" else None
        return _Object(self, path, mode, size=size, **kwargs)

    def info(self, path, **kwargs):
        path = self._strip_protocol(path)
        if path in self.objects:
            return {"name": path, "size": len(self.objects[path]), "type": "file"}
        if any(name.startswith(f"{path}/") for name in self.objects):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path, detail=True, **kwargs):
        names = sorted(name for name in self.objects if name.startswith(f"{self._strip_protocol(path)}/"))
        return [self.info(name) for name in names] if detail else names

    def makedirs(self, path, exist_ok=False):
        pass

    def cp_file(self, path1, path2, **kwargs):
        self.objects[self._strip_protocol(path2)] = self.objects[self._strip_protocol(path1)]

    def _rm(self, path):
        del self.objects[self._strip_protocol(path)]


class _Object(fsspec.spec.AbstractBufferedFile):
    def _fetch_range(self, start, end):
        return self.fs.objects[self.path][start:end]

    def _upload_chunk(self, final=False):
        if final:
            self.fs.objects[self.path] = self.buffer.getvalue()
        return final


fsspec.register_implementation(ObjectStore.protocol, ObjectStore, clobber=True)


class Storage:
    """A place of its own, on a storage of some kind."""

    def __init__(self, place):
        self.place = str(place)
        self.files, self.path = fsspec.core.url_to_fs(self.place)

    def save(self, value=1.0):
        dcp.save(state(value), storage_writer=by_fsspec.FsspecWriter(self.place))

    def load(self):
        found = state(0.0)
        dcp.load(found, storage_reader=by_fsspec.FsspecReader(self.place))
        return sorted({value for tensor in found.values() for value in tensor.flatten().tolist()})

    def sizes(self):
        found = self.files.find(self.path) if self.files.exists(self.path) else []
        return {name.rpartition("/")[2]: self.files.size(name) for name in found}


@pytest.fixture
def memory():
    storage = Storage(f"memory://{uuid.uuid4().hex}")
    yield storage
    if storage.files.exists(storage.path):
        storage.files.rm(storage.path, recursive=True)


@pytest.fixture
def local(tmp_path):
    return Storage(f"file://{tmp_path}/checkpoint")


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def objects():
    ObjectStore.objects.clear()
    return Storage(f"{ObjectStore.protocol}://bucket/checkpoint")


@pytest.fixture(params=["memory", "local", "objects"])
def storage(request):
    return request.getfixturevalue(request.param)


def save_and_load(storage):
    storage.save(1.0)
    storage.save(2.0)
    return storage.load()


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (
            "fs.write=delay(0); fs.read=delay(0); fs.close=delay(0); fs.seek=delay(0); fs.flush=delay(0)",
            [2.0],
        ),
        ('fs.create_stream("*.distcp")=stale', [1.0]),
        ('fs.create_stream(".metadata")=stale; fs.create_stream("__0_0.distcp")=stale', [1.0]),
        ('fs.create_stream("*.distcp")=cut', None),
        ('fs.create_stream(".metadata")=missing', None),
        ("fs.exists=missing", [2.0]),
        ('fs.read("*.distcp")#1=raise(OSError, EIO)', None),
        ('fs.write("*.distcp")#2=raise(OSError, ENOSPC)', None),
        ('fs.write("*.distcp")=full(3000)', None),
        ('fs.write(".metadata.tmp")#1=torn(10, EIO)', None),
        ("fs.write(helper)=raise(OSError, EIO)", [2.0]),
        ('fs.close("*.distcp")=raise(OSError, EIO)', None),
        ("fs.mkdir=raise(OSError, EDQUOT)", None),
        ("fs.rename#2=raise(OSError, EIO)", None),
        ("fs.rename#2=lie", None),
    ],
)
def test_every_storage_meets_the_same_faults(armed, storage, plan, expected):
    armed.run(plan, lambda: save_and_load(storage))
    assert armed.value == expected
    assert (armed.error is None) == (expected is not None)
    assert bool(armed.fired) == ("helper" not in plan)
    for data in armed.of("fired"):
        if "(" in plan.partition("=")[0]:
            assert data["path"].rpartition("/")[2] in ("__0_0.distcp", ".metadata", ".metadata.tmp")


def test_what_a_write_in_memory_then_holds(armed, memory):
    def write(text):
        with by_fsspec_stream(memory, "x", "wb") as stream:
            return [stream.write(piece) for piece in (text[:10], text[10:])]

    data = bytes(range(65, 85))
    for action, reported, content in [
        ("lie", [10, 10], bytes(20)),
        ("cut(2)", [10, 10], b"AB" + bytes(8) + b"KL" + bytes(8)),
        ("flip(0, 5)", [10, 10], b"aBCDEFGHIJkLMNOPQRST"),
        ("zero(1, 9)", [10, 10], b"ABCDEFGHI\0KLMNOPQRS\0"),
        ("short", [10, 10], data),  # a stream that is no real file takes all that it is given
    ]:
        armed.run(f"fs.write={action}", lambda: attached(armed, memory, lambda: write(data)))
        assert armed.value == reported
        assert memory.files.cat(f"{memory.path}/x") == content
        assert len(armed.fired) == (0 if action == "short" else 2)


def test_what_a_read_in_memory_then_gives(armed, memory):
    memory.files.pipe(f"{memory.path}/x", b"ABCDEFGH\nIJ")

    def read():
        found = []
        with by_fsspec_stream(memory, "x", "rb") as stream:
            buffer = bytearray(3)
            found += [
                stream.read(2),
                stream.readinto(buffer),
                bytes(buffer),
                stream.readline(),
                stream.readlines(),
            ]
            assert not hasattr(stream, "peek")
        return found

    armed.run("fs.read=flip(0, 5)", lambda: attached(armed, memory, read))
    assert armed.value == [b"aB", 3, b"cDE", b"fGH\n", [b"iJ"]]
    assert [data["call"] for data in armed.of("fired")] == [1, 2, 3, 4]


def by_fsspec_stream(storage, name, mode):
    return storage.seen.create_stream(f"{storage.place}/{name}", mode)


def attached(armed, storage, work):
    """`work`, with a file system that the engine was handed, by a save of nothing."""
    writer = by_fsspec.FsspecWriter(storage.place)
    storage.seen = writer.fs
    try:
        dcp.save({}, storage_writer=writer, planner=_Refusing())
    except BaseException:
        pass
    return work()


class _Refusing(dcp.DefaultSavePlanner):
    def set_up_planner(self, *args, **kwargs):
        raise LookupError("nothing is to be written")


def test_a_text_stream_is_faulted_too(armed, memory):
    def write():
        with by_fsspec_stream(memory, "x", "w") as stream:
            stream.write("one, two")

    armed.run("fs.write=cut(3)", lambda: attached(armed, memory, write))
    assert memory.files.cat(f"{memory.path}/x").startswith(b"one\0")


def test_a_stream_of_storage_keeps_what_else_it_can(armed, memory):
    def work():
        with by_fsspec_stream(memory, "x", "wb") as stream:
            assert (stream.tell(), stream.writable(), stream.seekable()) == (0, True, True)
            stream.writelines([b"ab", b"cd"])
            assert stream.tell() == 4
            with pytest.raises((AttributeError, io.UnsupportedOperation)):
                stream.fileno()

    armed.run("fs.write=delay(0)", lambda: attached(armed, memory, work))
    assert armed.error is None
    assert memory.files.cat(f"{memory.path}/x") == b"abcd"


def test_the_listing_of_a_storage_lags_behind(armed, memory):
    memory.save()
    look = lambda: [name.rpartition("/")[2] for name in memory.seen.ls(memory.place)]  # noqa: E731
    plan = 'fs.listdir("*.distcp")#1=missing'
    armed.run(plan, lambda: attached(armed, memory, lambda: [sorted(look()), sorted(look())]))
    assert armed.value == [[".metadata"], [".metadata", "__0_0.distcp"]]


def test_the_hugging_face_writer_meets_them_too(armed, tmp_path):
    pytest.importorskip("safetensors", reason="the Hugging Face writer needs safetensors")
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

    def work():
        dcp.save(state(1.0), storage_writer=HuggingFaceStorageWriter(str(tmp_path)))
        found = state(0.0)
        dcp.load(found, storage_reader=HuggingFaceStorageReader(str(tmp_path)))
        return found["weight"][0, 0].item()

    assert armed.run("", work).value == 1.0
    armed.run('fs.write("*.safetensors")=full(3000)', work)
    assert armed.error is not None
    assert [path.stat().st_size for path in tmp_path.glob("*.safetensors")] == [3000]
    armed.run('fs.write("*.json")=raise(OSError, EIO)', work)
    assert armed.error is not None
    armed.run(
        'fs.write("*.safetensors")#1=flip(3000)', work
    )  # its reader sees what is stored, without a check
    assert (armed.error, armed.fired[0][0]) == (None, "fs.write")
    armed.run('fs.listdir("*.safetensors")=missing', work)
    assert armed.error is not None


class Ranges(io.BytesIO):
    """A reader as some stores have them: it gives the ranges that are asked for, never a whole."""

    def read(self, size=-1, /):
        assert size >= 0, "this reader gives ranges alone"
        return super().read(size)


@pytest.mark.parametrize(
    ("action", "kept"), [("cut(10)", 10), ("cut", 500), ("cut(0)", 0), ("cut(999)", 999), ("cut(1000)", None)]
)
def test_what_is_cut_is_read_by_the_ranges_that_were_asked_for(action, kept):
    from faultkit.injection.files.cut_streams import cut_off
    from faultkit.plan.grammar import read_action

    content = bytes(range(250)) * 4
    whole = Ranges(content)
    stream = cut_off(read_action(action), whole)
    if kept is None:
        assert stream is whole
        return
    assert (stream.tell(), stream.seek(0, io.SEEK_END), stream.tell()) == (0, kept, kept)
    stream.seek(0)
    found = b"".join(iter(lambda: stream.read(100), b""))
    assert found == content[:kept]
    for place in (0, 5, kept, 2000):
        stream.seek(place)
        buffer = bytearray(20)
        count = stream.readinto(buffer)
        assert bytes(buffer[:count]) == content[:kept][place : place + 20]
    stream.seek(-min(3, kept), io.SEEK_END)
    assert stream.read(50) == content[:kept][kept - min(3, kept) :]


class RangedFiles(dcp.filesystem.FileSystem):
    """Local files, opened as `Ranges` where they are read."""

    kind = Ranges

    @contextlib.contextmanager
    def create_stream(self, path, mode):
        with open(path, mode) as stream:
            yield self.kind(stream.read()) if str(path).endswith(".distcp") else stream


def test_a_reader_of_ranges_alone_meets_the_end_of_a_file_that_is_cut(armed, tmp_path):
    dcp.save(state(1.0), checkpoint_id=tmp_path)
    reader = dcp.FileSystemReader(tmp_path)
    reader.fs = RangedFiles()
    found = {"bias": torch.zeros(3)}
    armed.run('fs.create_stream("*.distcp")=cut(2)', lambda: dcp.load(found, storage_reader=reader))
    assert len(armed.fired) == 1
    assert "ranges alone" not in str(armed.error) and armed.error is not None


class Unsized(Ranges):
    """One that does not know its size, either."""

    def seek(self, offset, whence=io.SEEK_SET, /):
        if whence == io.SEEK_END:
            raise ValueError("whence must be SEEK_CUR or SEEK_SET")
        return super().seek(offset, whence)


class UnsizedFiles(RangedFiles):
    kind = Unsized


@pytest.mark.parametrize(("action", "fired"), [("cut(2)", 1), ("cut", 0), ("flip", 0)])
def test_what_cannot_be_read_as_a_whole_is_left_as_it_is_and_told(armed, tmp_path, action, fired):
    dcp.save(state(1.0), checkpoint_id=tmp_path)
    reader = dcp.FileSystemReader(tmp_path)
    reader.fs = UnsizedFiles()
    found = {"bias": torch.zeros(3)}
    armed.run(f'fs.create_stream("*.distcp")={action}', lambda: dcp.load(found, storage_reader=reader))
    assert (len(armed.fired), len(armed.of("refused"))) == (fired, 1 - fired)
    if not fired:
        assert armed.error is None and found["bias"].tolist() == [1.0] * 3
        assert "cannot be read as a whole" in armed.of("refused")[0]["why"]
