"""What stands in the place of `open` and the functions of `os` while somebody listens behaves as they do."""

from __future__ import annotations

import builtins
import errno
import io
import mmap
import os
import pathlib
import shutil
import tempfile
import threading
import warnings

import pytest

from faultkit.interception import chain, installing
from faultkit.interception.chain import FAULTS
from faultkit.interception.installing import handled
from faultkit.recording.tree import read_tree, tree_after

fsync_by_name = os.fsync


class Handler:
    """Does what `act` says with each call under `root`, and keeps the calls."""

    level = FAULTS
    block_size = None

    def __init__(self, root, act=None, reads=False):
        self.root, self.act, self.reads, self.calls = str(root), act, reads, []

    def wants(self, path):
        return path.startswith(self.root)

    def __call__(self, call, proceed):
        self.calls.append((call.kind, os.path.relpath(call.path, self.root)))
        return proceed(call) if self.act is None else self.act(call, proceed)


def namespaces():
    return (
        {name: value for name, value in vars(os).items() if callable(value)},
        builtins.open,
        io.open,
        io.FileIO,
    )


def test_everything_is_put_back_and_modules_that_hold_a_function_by_name_too(here):
    before, defaults = namespaces(), tempfile._TemporaryFileCloser.close.__defaults__
    with here.recorded():
        assert fsync_by_name is os.fsync is not before[0]["fsync"]
        assert tempfile._TemporaryFileCloser.close.__defaults__ != defaults
        assert os.unlink in os.supports_dir_fd and os.truncate in os.supports_fd
    assert namespaces() == before
    assert fsync_by_name is os.fsync
    assert tempfile._TemporaryFileCloser.close.__defaults__ == defaults


MODES = ["r", "rb", "w", "wb", "a", "ab", "x", "r+", "w+b", "a+", "rt", "rb+"]
BAD = [
    ("rw", {}),
    ("q", {}),
    ("", {}),
    ("rbt", {}),
    ("rb", {"encoding": "utf-8"}),
    ("r", {"buffering": 0}),
    ("rb", {"newline": "\n"}),
    ("r", {"encoding": "no-such-encoding"}),
    (3, {}),
    ("r", {"closefd": False}),
]


def opened(path, mode, **options):
    """What opening gives, as far as a program can tell."""
    if mode == "x":
        path.unlink()
    try:
        with open(path, mode, **options) as file:
            layers = [file, *([file.buffer] if hasattr(file, "buffer") else [])]
            kinds = [type(layer) for layer in layers]
            place = file.tell()
            if file.writable():
                file.write("é" if "b" not in mode else b"\xe9")
            elif file.readable():
                place = file.read()
            return kinds, file.name, file.mode, getattr(file, "encoding", None), place, file.fileno() > 2
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("mode", MODES)
def test_open_gives_what_open_gives(here, mode):
    path = here.root / "file"
    path.write_text("content")
    expected, content = opened(path, mode), path.read_bytes()
    path.write_text("content")
    with here.recorded():
        assert opened(path, mode) == expected
    assert path.read_bytes() == content


@pytest.mark.parametrize(("mode", "options"), BAD, ids=str)
def test_open_refuses_what_open_refuses(here, mode, options):
    path = here.root / "file"
    path.write_text("content")
    expected = opened(path, mode, **options)
    with here.recorded():
        assert opened(path, mode, **options) == expected
    assert issubclass(expected[0], Exception)


def test_a_file_that_cannot_be_opened_gives_the_same_error_and_is_recorded_as_failed(here):
    expected = opened(here.root / "none" / "file", "w")
    with here.recorded():
        assert opened(here.root / "none" / "file", "w") == expected
        with pytest.raises(IsADirectoryError):
            open(here.root).close()
    assert next((one.kind, one.path, one.error) for one in here.recording.operations) == (
        "open", "none/file", "ENOENT",
    )  # fmt: skip


def test_writes_are_seen_below_the_buffer_and_at_their_place(here):
    with here.recorded(block_size=8), open(here.root / "file", "wb") as file:
        file.write(b"01234")
        os.fsync(file.fileno())
        file.write(b"56789")
        file.seek(2)
        file.write(b"!")
    assert [kind for kind, _ in here.calls][:3] == ["open", "fsync", "write"]
    writes = [(one.offset, one.data) for one in here.recording.operations if one.kind == "write"]
    assert writes[-1] == (2, b"!")
    assert writes[0][0] == 0 and writes[1] == (len(writes[0][1]), b"0123456789"[len(writes[0][1]) :])
    assert tree_after(here.recording)[0] == {"file": b"01!3456789"}


def test_a_file_keeps_its_number_through_renames_and_a_new_one_never_gets_an_old_number(here):
    old, new = here.root / "old", here.root / "new"
    old.write_bytes(b"before")
    with here.recorded():
        for round_number in range(3):
            temporary = here.root / "temporary"
            temporary.write_bytes(b"%d" % round_number)
            temporary.replace(new)
        old.unlink()
        (here.root / "again").write_bytes(b"perhaps in the inode of another")
    moved = [one for one in here.recording.operations if one.kind == "rename"]
    files = [one.file for one in here.recording.operations if one.kind == "open"]
    assert len(set(files)) == len(files) == 4
    assert [one.file for one in moved] == files[:3]
    assert next(one.file for one in here.recording.operations if one.kind == "unlink") not in files


def test_duplicates_of_a_descriptor_are_one_handle_and_two_opens_are_two(here):
    with here.recorded():
        first = os.open(here.root / "file", os.O_WRONLY | os.O_CREAT)
        second, copy = os.open(here.root / "file", os.O_WRONLY), os.dup(first)
        for descriptor in (first, second, copy):
            os.write(descriptor, b"x")
            os.close(descriptor)
    writes = [one for one in here.recording.operations if one.kind == "write"]
    assert writes[0].handle == writes[2].handle != writes[1].handle
    assert len({one.file for one in writes}) == 1
    assert [one.offset for one in writes] == [0, 0, 1]


def test_a_descriptor_that_was_open_before_is_recorded_by_the_name_it_has(here):
    descriptor = os.open(here.root / "early", os.O_WRONLY | os.O_CREAT)
    with here.recorded():
        os.write(descriptor, b"late")
        os.close(descriptor)
    assert here.calls == [("write", "early"), ("close", "early")]


def test_a_file_left_open_is_usable_when_nobody_listens_any_more(here):
    with here.recorded():
        file = open(here.root / "file", "w")  # noqa: SIM115
        file.write("held")
    with file:
        file.write(" back")
    assert here.calls == [("open", "file")]
    assert (here.root / "file").read_text() == "held back"


def test_what_lies_outside_of_the_root_is_not_recorded(here, tmp_path):
    with here.recorded():
        (tmp_path / "outside").write_text("x")
        (tmp_path / "root_and_more").mkdir()
    assert here.calls == []


def test_a_rename_out_of_the_root_is_an_unlink_and_noted(here, tmp_path):
    (here.root / "file").write_text("x")
    with here.recorded():
        os.rename(here.root / "file", tmp_path / "elsewhere")
    assert here.calls == [("unlink", "file")]
    assert "rename out of the recorded directory" in here.recording.notes[0]


def test_a_name_through_a_symbolic_link_is_the_name_that_it_leads_to(here):
    (here.root / "step_1").mkdir()
    os.symlink("step_1", here.root / "latest")
    with here.recorded():
        (here.root / "latest" / "file").write_text("x")
        (here.root / "latest").unlink()
    assert here.calls == [
        *((kind, "step_1/file") for kind in ("open", "write", "close")),
        ("unlink", "latest"),
    ]
    assert tree_after(here.recording) == ({"step_1": None, "step_1/file": b"x"}, {})


def test_a_writable_map_is_noted_and_a_private_or_read_only_one_is_not(here):
    (here.root / "file").write_bytes(bytes(mmap.PAGESIZE))
    with here.recorded(), open(here.root / "file", "r+b") as file:
        for access in (mmap.ACCESS_READ, mmap.ACCESS_COPY):
            mmap.mmap(file.fileno(), 0, access=access).close()
        with mmap.mmap(file.fileno(), 0) as mapped:
            assert isinstance(mapped, mmap.mmap)
            mapped[0:1] = b"x"
    assert here.recording.notes == ("rank 0: writes through a memory map of file are not recorded",)


def test_copies_by_the_system_are_writes_with_their_content(here):
    (here.root / "source").write_bytes(b"content" * 100)
    with here.recorded():
        shutil.copyfile(here.root / "source", here.root / "by_shutil")
        with open(here.root / "source", "rb") as source, open(here.root / "ranged", "wb") as goal:
            assert os.copy_file_range(source.fileno(), goal.fileno(), 50, 3) == 50
            assert source.tell() == 0
    entries, _ = tree_after(here.recording)
    assert entries == read_tree(str(here.root)).entries
    assert entries["ranged"] == (b"content" * 100)[3:53]


def test_two_threads_have_two_numbers(here):
    with here.recorded():
        (here.root / "a").touch()
        helper = threading.Thread(target=(here.root / "b").touch)
        helper.start()
        helper.join()
        idle = threading.Thread(target=int)
        idle.start()
        idle.join()
    assert [(one.kind, one.thread, one.number) for one in here.recording.operations] == [
        ("open", 0, 0), ("close", 0, 0),
        ("thread", 0, 1), ("open", 1, 0), ("close", 1, 0), ("thread", 0, 1),
    ]  # fmt: skip


# -- a handler in front of the recorder ----------------------------------------------------------


def test_a_short_write_is_recorded_as_what_was_accepted(here):
    def act(call, proceed):
        return proceed(call.replace(data=call.data[:3])) if call.kind == "write" else proceed(call)

    with here.recorded(), handled(Handler(here.root, act)):
        (here.root / "file").write_bytes(b"12345")
    assert [one.data for one in here.recording.operations if one.kind == "write"] == [b"123", b"45"]
    assert (here.root / "file").read_bytes() == b"12345"


def test_a_write_that_is_lost_in_secret_is_not_recorded(here):
    def act(call, proceed):
        return len(call.data) if call.kind == "write" else proceed(call)

    with here.recorded(), handled(Handler(here.root, act)):
        (here.root / "file").write_bytes(b"12345")
    assert here.calls == [("open", "file"), ("close", "file")]


def test_an_error_in_front_of_the_recorder_is_recorded_as_a_failure(here):
    def act(call, proceed):
        if call.kind in ("write", "rename"):
            raise OSError(errno.ENOSPC, "full")
        return proceed(call)

    with here.recorded(), handled(Handler(here.root, act)):
        with pytest.raises(OSError, match="full"):
            (here.root / "file").write_bytes(b"12345")
        with pytest.raises(OSError, match="full"):
            os.rename(here.root / "file", here.root / "other")
    failed = [(one.kind, one.data) for one in here.recording.operations if one.error == "ENOSPC"]
    assert failed[0] == ("write", b"") and failed[-1] == ("rename", b"")
    assert tree_after(here.recording)[0] == {"file": b""} == read_tree(str(here.root)).entries


def test_a_close_that_fails_has_closed_the_file(here):
    def act(call, proceed):
        if call.kind == "close":
            raise OSError(errno.EIO, "lost")
        return proceed(call)

    with handled(Handler(here.root, act)):
        file = open(here.root / "file", "wb", buffering=0)  # noqa: SIM115
        descriptor = os.open(here.root / "other", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match="lost"):
            os.close(descriptor)
        with pytest.raises(OSError, match="lost"):
            file.close()
    assert file.closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_reads_listings_and_states_are_seen_by_who_wants_them(here):
    (here.root / "file").write_bytes(b"12345")

    def act(call, proceed):
        if call.kind == "read":
            count = proceed(call)
            call.buffer[:count] = bytes(call.buffer[:count]).replace(b"3", b"!")
            return count
        if call.kind == "list":
            return [name for name in proceed(call) if name != "hidden"]
        if call.kind == "stat" and call.path.endswith("hidden"):
            raise FileNotFoundError(errno.ENOENT, "hidden", call.path)
        return proceed(call)

    (here.root / "hidden").touch()
    with handled(Handler(here.root, act, reads=True)):
        assert (here.root / "file").read_bytes() == b"12!45"
        with open(here.root / "file", "rb", buffering=0) as raw:
            assert raw.read(4) == b"12!4"
            assert raw.read() == b"5"
        descriptor = os.open(here.root / "file", os.O_RDONLY)
        assert os.read(descriptor, 3) == b"12!" and os.pread(descriptor, 9, 2) == b"!45"
        os.close(descriptor)
        assert os.listdir(here.root) == ["file"] == [path.name for path in here.root.iterdir()]
        with os.scandir(here.root) as entries:
            assert [entry.name for entry in entries] == ["file"]
        assert not (here.root / "hidden").exists() and not os.path.exists(here.root / "hidden")
    assert (here.root / "hidden").exists()


def test_handlers_come_and_go_in_any_order(here):
    outer, inner = Handler(here.root), Handler(here.root)
    installing.install(outer)
    installing.install(inner)
    installing.uninstall(outer)
    (here.root / "file").touch()
    installing.uninstall(inner)
    (here.root / "file").unlink()
    assert outer.calls == [] and inner.calls == [("open", "file"), ("close", "file")]
    assert os.unlink.__module__ == "posix"


def test_a_temporary_file_and_a_user_s_opener_are_seen_once(here):
    with here.recorded():
        with tempfile.NamedTemporaryFile(dir=here.root) as file:
            file.write(b"x")
        with open(here.root / "opened", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write("x")
    assert [kind for kind, _ in here.calls] == ["open", "write", "close", "unlink", "open", "write", "close"]


def test_line_buffering_of_bytes_warns_as_open_does(here):
    with here.recorded(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open(here.root / "file", "wb", buffering=1).close()
    assert [warning.category for warning in caught] == [RuntimeWarning]
    assert pathlib.Path(caught[0].filename) == pathlib.Path(__file__)


def test_a_name_that_is_no_text_is_recorded_as_well_as_it_can_be(here):
    with here.recorded():
        os.mkdir(os.fsencode(here.root) + b"/\xff")
    assert here.calls == [("mkdir", "\\udcff")]


def test_what_the_system_did_not_accept_is_not_recorded(here):
    def act(call, proceed):
        return proceed(call.replace(data=call.data[:3])) if call.kind == "write" else proceed(call)

    system = Handler(here.root, act)
    system.level = chain.RECORDER + 1  # below the recorder, as the system is
    with here.recorded(), handled(system):
        (here.root / "file").write_bytes(b"12345")
    writes = [(one.offset, one.data) for one in here.recording.operations if one.kind == "write"]
    assert writes == [(0, b"123"), (3, b"45")]
