"""What faults on real files do: the bytes that are then on disk, and what the reader got."""

from __future__ import annotations

import builtins
import errno
import io
import os
import pathlib
import signal
import threading

import pytest

from faultkit.plan import FaultPlan

OLD, NEW = b"o" * 20, bytes(range(65, 85))  # 20 bytes each; NEW is "ABCDEFGHIJKLMNOPQRST"


def write(path, data=NEW, mode="wb", pieces=2):
    """Write `data` in so many writes to the file, past any buffer; returns what each write reported."""
    size = -(-len(data) // pieces)
    with open(path, mode, buffering=0) as stream:
        return [stream.write(data[start : start + size]) for start in range(0, len(data), size)]


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(timeout=60)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "shard.distcp"


@pytest.fixture
def under(armed):
    """Runs a function while a plan is armed; gives what it returned, or raises what it raised."""

    def run(plan, function, *args):
        armed.run(plan, lambda: function(*args))
        if armed.error is not None:
            raise armed.error
        return armed.value

    return run


@pytest.mark.parametrize("number", ["ENOSPC", "EIO", "EDQUOT", "EACCES", "EINTR", "EAGAIN", "ESTALE"])
def test_any_error_of_the_system_stops_the_write(armed, file, number):
    armed.run(f"fs.write#2=raise(OSError, {number})", lambda: write(file))
    assert armed.error.errno == getattr(errno, number)
    assert type(armed.error) is type(
        OSError(armed.error.errno, "")
    )  # a BlockingIOError, InterruptedError ...
    assert file.read_bytes() == NEW[:10]
    [fired] = armed.of("fired")
    assert (fired["point"], fired["call"], fired["path"], fired["thread"]) == (
        "fs.write",
        2,
        str(file),
        "main",
    )


WRITES = [
    # action, what two writes of 10 bytes each report, what is then in a file that held 20 "o" (opened "r+b")
    ("short", [5, 5], b"ABCDEKLMNOoooooooooo"),
    ("short(3)", [3, 3], b"ABCKLMoooooooooooooo"),
    ("lie", [10, 10], OLD),
    ("flip", [10, 10], b"ABCDEGGHIJKLMNOQQRST"),
    ("flip(0, 5)", [10, 10], b"aBCDEFGHIJkLMNOPQRST"),
    ("zero(2)", [10, 10], b"ABCD\0\0GHIJKLMN\0\0QRST"),
    ("zero(3, 9)", [10, 10], b"ABCDEFGHI\0KLMNOPQRS\0"),
    ("cut", [10, 10], b"ABCDEoooooKLMNOooooo"),
    ("cut(1)", [10, 10], b"AoooooooooKooooooooo"),
]


@pytest.mark.parametrize(("action", "reported", "content"), WRITES, ids=[action for action, *_ in WRITES])
def test_a_write_does_something_else_than_it_says(under, file, action, reported, content):
    file.write_bytes(OLD)
    assert under(f"fs.write={action}", write, file, NEW, "r+b") == reported
    assert file.read_bytes() == content


def test_what_is_lost_of_a_new_file_is_zeros_at_its_right_length(under, file):
    assert under("fs.write#1=lie", write, file) == [10, 10]
    assert file.read_bytes() == bytes(10) + NEW[10:]
    assert under("fs.write#2=cut(3)", write, file) == [10, 10]
    assert file.read_bytes() == NEW[:13] + bytes(7)


def test_what_is_lost_of_an_appended_write_is_zeros_behind_what_is_there(under, file):
    file.write_bytes(OLD)
    assert under("fs.write#1=lie; fs.write#2=cut(2)", write, file, NEW, "ab") == [10, 10]
    assert file.read_bytes() == OLD + bytes(10) + NEW[10:12] + bytes(8)


def test_a_write_at_a_place_is_lost_there(under, file):
    file.write_bytes(OLD)

    def work():
        descriptor = os.open(file, os.O_WRONLY)
        try:
            return os.pwrite(descriptor, NEW, 5), os.pwrite(descriptor, b"..", 0)
        finally:
            os.close(descriptor)

    assert under("fs.write#1=cut(3)", work) == (20, 2)
    assert file.read_bytes() == b"..ooo" + NEW[:3] + b"o" * 12 + bytes(5)


def test_a_full_disk_takes_what_still_fits_and_stays_full(armed, file):
    armed.run("fs.write=full(14)", lambda: write(file, pieces=4))
    assert armed.error.errno == errno.ENOSPC
    assert file.read_bytes() == NEW[:14]
    assert [data["call"] for data in armed.of("fired")] == [
        3,
        4,
    ]  # one that got 4 of its 5 bytes, one refused

    armed.run("fs.write=full(14)", lambda: file.write_bytes(NEW))
    assert (armed.error.errno, file.read_bytes()) == (errno.ENOSPC, NEW[:14])
    assert [data["call"] for data in armed.of("fired")][:2] == [1, 2]  # the buffer writes the rest again


def test_the_quota_of_several_files_is_one(armed, tmp_path):
    armed.run("fs.write=full(25, EDQUOT)", lambda: [write(tmp_path / name) for name in "ab"])
    assert armed.error.errno == errno.EDQUOT
    assert [len((tmp_path / name).read_bytes()) for name in "ab"] == [20, 5]


@pytest.mark.parametrize(
    ("plan", "content"),
    [
        ("fs.write:before#2=kill", NEW[:10]),
        ("fs.write#2=torn", NEW[:15]),
        ("fs.write#2=torn(3)", NEW[:13]),
        ("fs.write#2=torn(0)", NEW[:10]),
        ("fs.write:after#2=kill", NEW),
        ("fs.write:after#1=exit(3)", NEW[:10]),
    ],
)
def test_the_process_dies_before_during_or_after_the_write(armed, forked, file, plan, content):
    [(answer, status)] = forked(lambda: armed.run(plan, lambda: write(file)))
    assert answer is None
    assert os.waitstatus_to_exitcode(status) == (3 if "exit" in plan else -signal.SIGKILL)
    assert file.read_bytes() == content


def test_a_torn_write_may_fail_instead(armed, file):
    armed.run("fs.write#2=torn(4, EIO)", lambda: write(file))
    assert armed.error.errno == errno.EIO
    assert file.read_bytes() == NEW[:14]


def test_the_buffer_of_the_interpreter_stands_above(armed, file):
    """What Python holds back is no write: one write for each block of the file system, and one at the end."""

    def work():
        with open(file, "wb") as stream:
            block = os.fstat(stream.fileno()).st_blksize
            for _ in range(block + 1):
                stream.write(b"x")
            seen.append(len(armed.of("fired")))

    seen = []
    armed.run("fs.write=delay(0)", work)
    assert (seen, len(armed.of("fired"))) == ([1], 2)
    armed.run("fs.write=short", work)  # a short write is no harm to who goes on, as the buffer does
    assert set(file.read_bytes()) == set(b"x")
    assert armed.error is None


READS = [
    # action, what readers of a file that holds NEW get: one of all bytes at once, one of 8 at a time
    ("short", [NEW, b"ABCD"]),
    ("short(3)", [NEW, b"ABC"]),
    ("flip", [b"ABCDEFGHIJJLMNOPQRST", b"ABCDDFGH"]),
    ("flip(19, 7)", [NEW[:19] + b"\xd4", b"ABCDEFGH"]),
    ("zero(4)", [b"ABCDEFGH\0\0\0\0MNOPQRST", b"AB\0\0\0\0GH"]),
    ("zero(9, 0)", [bytes(9) + NEW[9:], bytes(8)]),
]


@pytest.mark.parametrize(("action", "expected"), READS, ids=[action for action, *_ in READS])
def test_a_read_gives_something_else_than_is_there(under, file, action, expected):
    file.write_bytes(NEW)

    def read():
        with open(file, "rb") as whole, open(file, "rb", buffering=0) as pieces:
            return [whole.read(), pieces.read(8)]

    assert under(f"fs.read={action}", read) == expected
    assert file.read_bytes() == NEW


def test_after_a_short_read_the_next_one_goes_on_where_it_ended(under, file):
    file.write_bytes(NEW)

    def read():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            return [os.read(descriptor, 8), os.read(descriptor, 8), os.pread(descriptor, 8, 4)]
        finally:
            os.close(descriptor)

    assert under("fs.read#1=short; fs.read#3=short(1)", read) == [b"ABCD", b"EFGHIJKL", b"E"]


VIEWS = [
    ("cut", NEW[:10]),
    ("cut(3)", NEW[:3]),
    ("cut(0)", b""),
    ("flip(1)", b"ACCDEFGHIJKLMNOPQRST"),
    ("zero(2)", b"ABCDEFGHI\0\0LMNOPQRST"),
    ('stale("before.distcp")', OLD),
]


@pytest.mark.parametrize(("action", "content"), VIEWS, ids=[action for action, *_ in VIEWS])
def test_who_opens_a_file_sees_another_one(under, file, action, content):
    file.write_bytes(NEW)
    file.with_name("before.distcp").write_bytes(OLD)

    def read():
        with open(file, "rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            return stream.read(), size, os.fstat(stream.fileno()).st_size, file.read_bytes()

    # only the first that is opened for reading, in both of its ways
    assert under(f"fs.open#1={action}", read) == (content, len(content), len(content), NEW)
    assert file.read_bytes() == NEW


def overwrite(path):
    path.write_bytes(NEW)


def replace(path):
    other = path.with_suffix(".tmp")
    other.write_bytes(NEW)
    os.replace(other, path)


def remove_and_write(path):
    path.unlink()
    path.write_bytes(NEW)


@pytest.mark.parametrize("change", [overwrite, replace, remove_and_write])
def test_a_stale_file_is_what_stood_there_before_this_rank_changed_it(under, armed, file, change):
    file.write_bytes(OLD)

    def work():
        change(file)
        return file.read_bytes()

    assert under('fs.open("*.distcp")=stale', work) == OLD
    assert under("fs.open=stale", lambda: file.read_bytes()) == NEW  # nothing older is known
    assert armed.fired == []


def test_a_missing_file_is_missing_in_every_way(under, file):
    file.write_bytes(NEW)
    plan = "; ".join(f"fs.{point}=missing" for point in ("open", "stat", "listdir", "rename", "unlink"))

    def look():
        for attempt in (
            lambda: file.read_bytes(),
            lambda: os.stat(file),
            lambda: os.rename(file, f"{file}2"),
            lambda: os.remove(file),
        ):
            with pytest.raises(FileNotFoundError) as caught:
                attempt()
            assert (caught.value.errno, str(file) in str(caught.value)) == (errno.ENOENT, True)
        return file.exists(), os.path.exists(file), os.access(file, os.R_OK), os.listdir(file.parent)

    assert under(plan, look) == (False, False, False, [])
    assert file.read_bytes() == NEW


def test_a_listing_lags_behind_by_some_calls(under, tmp_path):
    for name in ("a.distcp", "b.distcp", ".metadata"):
        (tmp_path / name).write_bytes(NEW)

    def look():
        with os.scandir(tmp_path) as entries:
            scanned = {entry.name for entry in entries}
        return set(os.listdir(tmp_path)), scanned, {path.name for path in tmp_path.iterdir()}

    everything = {"a.distcp", "b.distcp", ".metadata"}
    found = under('fs.listdir("*.distcp")#1-2=missing', look)
    assert sorted(map(sorted, found)) == sorted(map(sorted, [{".metadata"}, {".metadata"}, everything]))


def test_what_is_reported_as_done_is_not_done(under, file):
    file.write_bytes(OLD)
    names = {"fsync", "truncate", "rename", "mkdir", "unlink", "link", "rmdir"}
    (file.parent / "empty").mkdir()

    def work():
        with open(file, "r+b") as stream:
            stream.truncate(3)
            os.fsync(stream.fileno())
            os.fdatasync(stream.fileno())
        os.replace(file, f"{file}2")
        os.mkdir(file.parent / "new")
        os.unlink(file)
        os.link(file, f"{file}3")
        os.symlink(file, f"{file}4")
        os.rmdir(file.parent / "empty")

    under("; ".join(f"fs.{name}=lie" for name in names), work)
    assert {path.name for path in file.parent.iterdir()} == {file.name, "empty"}
    assert file.read_bytes() == OLD


def test_a_close_that_fails_has_closed_the_file(armed, file):
    armed.run("fs.close=raise(OSError, EIO)", lambda: file.write_bytes(NEW))
    assert armed.error.errno == errno.EIO
    assert file.read_bytes() == NEW
    assert str(file) not in {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                             if os.path.islink(f"/proc/self/fd/{fd}")}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "hit"),
    [
        ("", "a.distcp b.distcp .metadata c/a.distcp"),
        ('("*.distcp")', "a.distcp b.distcp c/a.distcp"),
        ('("a.*")', "a.distcp c/a.distcp"),
        ('("c/*")', "c/a.distcp"),
        ('(".metadata")', ".metadata"),
        ("(helper)", "c/a.distcp"),
        ("(main)", "a.distcp b.distcp .metadata"),
        ('("*.distcp", main)', "a.distcp b.distcp"),
        ('("[ab].distcp", helper)', "c/a.distcp"),
    ],
)
def test_a_fault_means_its_files_and_its_thread(armed, tmp_path, files, hit):
    (tmp_path / "c").mkdir()

    def work():
        for name in ("a.distcp", "b.distcp", ".metadata"):
            write(tmp_path / name, pieces=1)
        in_thread(lambda: write(tmp_path / "c/a.distcp", pieces=1))

    armed.run(f"fs.write{files}=delay(0)", work)
    assert [os.path.relpath(data["path"], tmp_path) for data in armed.of("fired")] == hit.split()
    assert [data["call"] for data in armed.of("fired")] == list(range(1, 1 + len(hit.split())))


def test_calls_are_counted_for_each_filter_by_itself(armed, tmp_path):
    def work():
        for name in ("a.x", "b.y", "c.x", "d.y"):
            write(tmp_path / name, pieces=1)

    armed.run('fs.write("*.x")#2=delay(0); fs.write#2=delay(0); fs.write("*.y")#1=delay(0)', work)
    told = [(data["fault"], os.path.basename(data["path"]), data["call"]) for data in armed.of("fired")]
    assert told == [(1, "b.y", 2), (2, "b.y", 1), (0, "c.x", 2)]


def test_a_rename_is_meant_by_either_of_its_names(armed, file):
    file.write_bytes(NEW)
    target = file.with_name(".metadata")
    for glob in (".metadata", "shard.*"):
        armed.run(f'fs.rename("{glob}")=raise(OSError, EXDEV)', lambda: os.replace(file, target))
        assert (armed.error.errno, file.exists()) == (errno.EXDEV, True)


def test_faults_of_one_call_act_in_the_order_in_which_they_are_written(armed, file):
    armed.run("fs.write=flip(0); fs.write=cut(4); fs.write=raise(OSError, EIO)", lambda: write(file))
    assert (armed.error.errno, file.read_bytes()) == (errno.EIO, b"")
    armed.run("fs.write#1=flip(0, 5); fs.write#1=cut(4)", lambda: write(file))
    assert file.read_bytes() == b"aBCD" + bytes(6) + NEW[10:]


def test_what_changes_nothing_has_not_fired(armed, file):
    plan = "fs.write=flip(99); fs.write=cut(99); fs.write=full(99); fs.write=short(99); fs.open=cut(99)"
    armed.run(plan, lambda: (write(file), file.read_bytes()))
    assert armed.fired == []
    assert file.read_bytes() == NEW


def test_files_of_the_system_and_of_python_are_meant_only_by_name(armed):
    def work():
        pathlib.Path("/proc/self/status").read_bytes()
        pathlib.Path(os.__file__).read_bytes()

    armed.run("fs.open=raise(OSError, EIO)", work)
    assert (armed.error, armed.fired) == (None, [])
    armed.run('fs.open("/proc/self/status")=raise(OSError, EIO)', work)
    assert armed.error.errno == errno.EIO


def functions():
    names = "open close write read fsync ftruncate rename replace unlink remove mkdir rmdir link listdir stat"
    return [builtins.open, io.open, io.FileIO, *(getattr(os, name) for name in names.split())]


def test_a_plan_without_faults_on_files_costs_nothing_and_all_is_put_back(armed, file):
    before, during = functions(), []
    look = lambda: during.append(functions())  # noqa: E731
    for plan in ("", "writer.write_data=delay(0)", "fs.create_stream=delay(0)", "fs.flush=delay(0)"):
        armed.run(plan, look)
        assert during.pop() == before
    armed.run("fs.write=delay(0)", look)
    assert during.pop() != before
    armed.run("fs.write=raise(OSError, EIO)", lambda: write(file))
    assert armed.error is not None
    assert functions() == before


def test_every_operation_on_files_is_a_place_for_every_action_that_can_happen_there():
    from faultkit.plan.action_catalogue import ACTIONS
    from faultkit.plan.action_places import actions_at
    from faultkit.plan.points import FILE_POINTS, find
    from faultkit.sweep import FILE_ACTIONS, REQUEST_ACTIONS, STANDARD_ACTIONS, VALUE_ACTIONS

    standard = (*STANDARD_ACTIONS, *FILE_ACTIONS, *VALUE_ACTIONS, *REQUEST_ACTIONS)
    written = {text.partition("(")[0]: text for text in (*standard, "limit(1)", "descriptors(1)")}
    for point in map(find, (f"fs.{name}" for name in (*FILE_POINTS, "rename", "mkdir", "create_stream"))):
        for name in ACTIONS:
            text = f"{point}={written[name]}"
            if name in actions_at(point):
                assert str(FaultPlan.parse(text).faults[0].action).startswith(name)
            else:
                with pytest.raises(ValueError, match=f"action '{name}' cannot happen at '{point}'"):
                    FaultPlan.parse(text)
