"""What a save of the stock engine does to files, as a recording tells it, and when a recording is refused."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading

import msgspec
import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from faultkit import World
from faultkit.interception import shim
from faultkit.recording import (
    Operation,
    Recording,
    RecordingError,
    describe,
    describe_all,
    edges,
    record,
    scratch,
    tree_after,
)
from faultkit.recording import recording as recording_module
from faultkit.recording.spool import read_frames
from faultkit.recording.tree import read_tree
from faultkit.recording.verifying import verified
from tests.helpers.own_files import files_told
from tests.helpers.stock import stock_is

pytestmark = pytest.mark.slow


def save(directory, value=1.0, thread_count=1):
    state = {"shared": torch.full((50,), value), f"of_{dist.get_rank()}": torch.full((30,), value)}
    dcp.save(state, storage_writer=dcp.FileSystemWriter(directory, thread_count=thread_count))


@pytest.fixture(scope="module")
def saved_twice(pair, tmp_path_factory):
    """(recording of a save to a new directory, recording of one over it)."""
    root = tmp_path_factory.mktemp("saved")
    first = record(pair, save, root / "step", 1.0, root=root)
    second = record(pair, save, root / "step", 2.0, 2, root=root)
    assert first.run.verdict == second.run.verdict == "HELD"
    return first.recording, second.recording


def of(recording, path, *kinds):
    return [one for one in recording.operations if one.path == path and (not kinds or one.kind in kinds)]


def kinds(operations):
    return [one.kind for one in operations]


# torch 2.14 flushes the buffer before it syncs the file
METADATA = ["open", *(["fsync", "write"] if stock_is("<2.14") else ["write", "fsync"]), "close", "rename"]


def test_the_metadata_is_written_and_synced_in_the_order_of_the_engine(saved_twice):
    for recording in saved_twice:
        calls = of(recording, "step/.metadata.tmp")
        assert kinds(calls) == METADATA
        assert calls[-1].target == "step/.metadata"
        assert {one.file for one in calls} == {calls[0].file}


@pytest.mark.parametrize("block_size", [4096, 1 << 20])
def test_so_it_is_with_buffers_of_any_file_system(pair, tmp_path, block_size):
    recording = record(pair, save, tmp_path / "step", root=tmp_path, block_size=block_size).recording
    assert recording.block_size == block_size
    assert kinds(of(recording, "step/.metadata.tmp")) == METADATA


def test_what_does_not_fit_the_buffer_is_written_before_the_sync(pair, tmp_path):
    recording = record(pair, save, tmp_path / "step", root=tmp_path, block_size=1000).recording
    assert kinds(of(recording, "step/.metadata.tmp"))[:3] == ["open", "write", "fsync"]


def test_neither_the_directory_nor_its_parent_is_synced(saved_twice):
    for recording in saved_twice:
        assert of(recording, "step", "mkdir")
        assert not [one for one in recording.operations if one.kind == "fsync_directory"]


def test_a_save_over_another_rewrites_its_shards_and_unlinks_its_metadata_before_the_rename(saved_twice):
    _, second = saved_twice
    [unlinked] = of(second, "step/.metadata", "unlink")
    [renamed] = of(second, "step/.metadata.tmp", "rename")
    opened = [one for one in second.operations if one.kind == "open" and one.path.endswith(".distcp")]
    rewritten = [one for one in opened if one.path in second.before]
    assert len(rewritten) == 2 and all(one.flags & os.O_TRUNC for one in rewritten)
    assert max(one.index for one in opened) < unlinked.index < renamed.index
    assert unlinked.file != renamed.file


def test_helper_threads_of_the_writer_are_told_apart_and_joined(saved_twice):
    _, second = saved_twice
    for rank in (0, 1):
        own = [one for one in second.operations if one.rank == rank]
        assert {one.thread for one in own} == {0, 1}
        [start] = [one for one in own if one.kind == "thread" and one.phase == "start"]
        [join] = [one for one in own if one.kind == "thread" and one.phase == "join"]
        helper = [one for one in own if one.thread == 1]
        assert start.number == join.number == 1
        assert start.index < helper[0].index and helper[-1].index < join.index
        assert {(start.index, helper[0].index), (helper[-1].index, join.index)} <= set(edges(second))


def test_collectives_order_the_ranks(saved_twice):
    first, _ = saved_twice
    by_rank = [
        [
            (one.name, one.number, one.phase)
            for one in first.operations
            if one.kind == "collective" and one.rank == rank
        ]
        for rank in (0, 1)
    ]
    assert by_rank[0] == by_rank[1]
    assert {name for name, _, _ in by_rank[0]} == {"allgather", "gather", "broadcast", "scatter"}
    assert all(one.group == (0, 1) for one in first.operations if one.kind == "collective")
    pairs = edges(first)
    assert pairs and all(before < after for before, after in pairs)
    # no rank writes its metadata before the other has written its shard
    [shard] = of(first, "step/__1_0.distcp", "close")
    [metadata] = of(first, "step/.metadata.tmp", "open")
    assert follows(first, shard.index, metadata.index)


def follows(recording, before, after):
    """Whether `after` must happen after `before`: by edges and the order of each thread."""
    reached, operations, pairs = {before}, recording.operations, edges(recording)
    for one in operations[before:]:
        same = any(operations[i].rank == one.rank and operations[i].thread == one.thread for i in reached)
        if same or any(start in reached and end == one.index for start, end in pairs):
            reached.add(one.index)
    return after in reached


def test_each_operation_names_the_line_that_issued_it(saved_twice):
    first, _ = saved_twice
    [renamed] = of(first, "step/.metadata.tmp", "rename")
    assert [line.partition(":")[0] for line in renamed.where[:2]] == 2 * [
        "torch/distributed/checkpoint/filesystem.py"
    ]
    assert renamed.where[1].endswith(" in finish")
    assert 1 < len(renamed.where) <= 6
    assert files_told("\n".join(line for one in first.operations for line in one.where)) == []


def test_every_rank_says_when_its_function_returned(saved_twice):
    for recording in saved_twice:
        for rank in (0, 1):
            last = [one for one in recording.operations if one.rank == rank][-1]
            assert (last.kind, last.thread, last.path) == ("returned", 0, "")


def test_the_operations_make_the_tree_that_is_there(saved_twice):
    first, second = saved_twice
    assert first.before == {}
    assert tree_after(first) == (second.before, {})
    assert tree_after(second)[0] == read_tree(second.root).entries


def test_a_recording_survives_a_file_and_tells_itself_in_words(saved_twice):
    first, _ = saved_twice
    assert Recording.from_bytes(first.to_bytes()) == first
    told = describe_all(first, kind="rename")
    assert told == ("rename(step/.metadata.tmp -> step/.metadata) on rank 0",)
    assert first.describe(of(first, "step/.metadata.tmp", "rename")[0]) == told[0]
    with pytest.raises(RecordingError, match="not a recording"):
        Recording.from_bytes(b"no")
    with pytest.raises(RecordingError, match="not a recording"):
        Recording.from_bytes(first.to_bytes().replace(b".metadata", b"\xff" * 9))


def test_a_killed_rank_leaves_its_operations_up_to_its_death(pair, tmp_path):
    plan = "writer.write_data:after@1=kill"
    recorded = record(pair, save, tmp_path / "step", root=tmp_path, plan=plan)
    assert recorded.run.outcomes[1].kind == "died"
    own = [one for one in recorded.recording.operations if one.rank == 1]
    assert kinds(of(recorded.recording, "step/__1_0.distcp"))[-2:] == ["fsync", "close"]
    assert own[-1].kind == "close" and own[-1].path == "step/__1_0.distcp"


def nothing():
    pass


def save_large(directory, value, last="close"):
    """Three pieces of 300 kB and one of 10 bytes, by each rank, each piece another."""
    directory.mkdir(exist_ok=True)
    with open(directory / f"of_{dist.get_rank()}", "wb", buffering=0) as stream:
        for number in range(3):
            stream.write(bytes([value, number, dist.get_rank()]) * 100_000)
        stream.write(bytes([value]) * 10)
        if last == "kill":
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("room", [scratch.BYTES_MAX, 1_000_000, 0])
def test_large_data_is_kept_whole_in_memory_that_was_used_before_and_where_that_ends(
    pair, tmp_path, monkeypatch, room
):
    monkeypatch.setattr(scratch, "BYTES_MAX", room)  # with 1 MB: one piece of each rank there, two not
    for value in (1, 2, 3):  # over what the memory held; held to the disk by the recording itself
        recording = record(pair, save_large, tmp_path / "new", value, root=tmp_path).recording
        for rank in (0, 1):
            written = [one.data for one in of(recording, f"new/of_{rank}", "write")]
            pieces = [bytes([value, number, rank]) * 100_000 for number in range(3)]
            assert written == [*pieces, bytes([value]) * 10]


def test_large_data_of_a_killed_rank_is_kept_and_its_memory_is_not_used_again(pair, tmp_path):
    record(pair, save_large, tmp_path / "new", 1, root=tmp_path)
    before = len(scratch._free)
    assert before >= 2
    recorded = record(pair, save_large, tmp_path / "new", 2, "kill", root=tmp_path)
    assert recorded.run.outcomes[0].kind == "died"
    assert len(scratch._free) == before - 2
    (*_, large, last) = of(recorded.recording, "new/of_0", "write")
    assert (large.data, last.data) == (bytes([2, 2, 0]) * 100_000, bytes([2]) * 10)


def save_in_a_child(directory):
    child = os.fork()
    if child == 0:
        save_large(directory, 7)
        os._exit(0)
    os.waitpid(child, 0)
    save_large(directory.with_name("second"), 8)


def test_a_forked_child_does_not_write_over_the_large_data_of_its_rank(pair, tmp_path):
    recording = record(pair, save_in_a_child, tmp_path / "first", root=tmp_path).recording
    for name, value in (("first", 7), ("second", 8)):
        written = b"".join(one.data for one in of(recording, f"{name}/of_1", "write"))
        assert written == (tmp_path / name / "of_1").read_bytes() and written[0] == value


def test_a_recording_of_nothing_is_refused_and_says_what_was_looked_for(pair, tmp_path):
    with pytest.raises(RecordingError) as refused:
        record(pair, nothing, root=tmp_path)
    text = str(refused.value)
    assert str(tmp_path) in text and "python backend" in text and "open, write, rename" in text
    assert "rank 0 returned; rank 1 returned" in text and "backend='preload'" in text


def write_below_python(directory):
    os.makedirs(directory, exist_ok=True)
    torch.save(torch.ones(3), os.path.join(directory, f"by_cpp_{dist.get_rank()}"))


def test_what_was_written_below_python_is_noticed(pair, tmp_path):
    with pytest.raises(RecordingError, match=r"new/by_cpp_0 \(on disk, and no operation made it\).*preload"):
        record(pair, write_below_python, tmp_path / "new", root=tmp_path, backend="python")


def append_below_python(directory):
    write_below_python(directory)
    with open(os.path.join(directory, f"runs_{dist.get_rank()}"), "a") as file:
        file.write("x")


@pytest.mark.skipif(shim.compiler() is None, reason="needs a C compiler")
def test_where_python_does_not_see_the_writer_the_library_records_on_files_as_they_were(pair, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "runs_0").write_text("before")
    (tmp_path / "new" / "by_cpp_1").symlink_to("by_link")
    recording = record(pair, append_below_python, tmp_path / "new", root=tmp_path).recording
    assert recording.backend == "preload" and recording.before["new/runs_0"] == b"before"
    assert recording.links == {"new/by_cpp_1": "by_link"}
    assert (tmp_path / "new" / "runs_0").read_text() == "beforex"  # and not what the first run left as well
    written = {one.path for one in recording.operations if one.kind == "write"}
    assert {"new/by_cpp_0", "new/by_link", "new/runs_0", "new/runs_1"} <= written
    entries, _ = tree_after(recording)
    assert entries["new/by_link"] == (tmp_path / "new" / "by_link").read_bytes()


def test_where_python_sees_all_it_records_alone(pair, tmp_path):
    assert record(pair, save, tmp_path / "new", root=tmp_path).recording.backend == "python"


def test_without_a_compiler_it_says_what_would_see_the_writer(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "/no/compiler")
    with pytest.raises(
        RecordingError, match=r"by_cpp_0 \(on disk.*'preload' would see it, and needs a C compiler"
    ):
        record(pair, write_below_python, tmp_path / "new", root=tmp_path)


def start_a_process(directory):
    if dist.get_rank() == 1:
        subprocess.run(
            [sys.executable, "-c", f"open({str(directory / 'child')!r}, 'w').write('x')"], check=True
        )


def test_python_that_a_rank_starts_is_recorded_with_the_rank(pair, tmp_path):
    recording = record(pair, start_a_process, tmp_path, root=tmp_path).recording
    assert [(one.kind, one.rank, one.thread) for one in of(recording, "child")] == [
        (kind, 1, 1) for kind in ("open", "write", "close")
    ]


def whose(*_):
    return [os.fsync.__module__, open.__module__, "PYTHONPATH" in os.environ, type(open).__name__]


def test_nothing_is_replaced_while_nothing_is_recorded(pair, tmp_path):
    def seen(path):
        path.write_text("x")
        return whose()

    before = pair.run(whose).outcomes[0].value
    during = record(pair, seen, tmp_path / "x", root=tmp_path, verify=False).run.outcomes[0].value
    assert pair.run(whose).outcomes[0].value == before != during


def test_backend_block_size_and_world_are_checked(pair, tmp_path):
    with pytest.raises(ValueError, match="backend must be one of python, preload"):
        record(pair, save, root=tmp_path, backend="strace")
    with pytest.raises(ValueError, match="block_size must be a number of bytes"):
        record(pair, save, root=tmp_path, block_size=0)
    with (
        World(2, kind="simulated") as simulated,
        pytest.raises(ValueError, match="use kind 'warm' or 'fresh'"),
    ):
        record(simulated, save, root=tmp_path)


def test_a_root_that_holds_the_spools_is_refused(pair, tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    monkeypatch.setattr(recording_module, "_places", lambda: (str(tmp_path / "inner"),))
    with pytest.raises(RecordingError, match="holds the temporary directory"):
        record(pair, save, root=tmp_path)


def test_calls_that_overlap_in_time_are_told_in_the_order_of_their_effect(tmp_path):
    """One unlinks while another makes the file: the unlink started first and came last."""
    (tmp_path / "kept").write_bytes(b"")
    made = Operation(
        index=1,
        rank=0,
        thread=0,
        kind="open",
        path="x",
        file=1,
        handle=0,
        flags=os.O_CREAT,
        seconds=2.0,
        end_seconds=3.0,
    )
    gone = Operation(index=0, rank=1, thread=0, kind="unlink", path="x", file=1, seconds=1.0, end_seconds=4.0)
    recording = Recording(str(tmp_path), 2, 4096, "python", {"kept": b""}, (gone, made))
    assert [(one.index, one.kind) for one in verified(recording).operations] == [
        (0, "open"),
        (1, "unlink"),
    ]


def test_the_preloaded_library_sees_what_cpp_and_rust_write(pair, tmp_path, tells_of_raw_calls):
    if shim.compiler() is None:
        pytest.skip("no C compiler builds the preloaded library here")

    def all_of_them(directory):
        save(directory / "step")
        write_below_python(directory)
        if tells_of_raw_calls:
            save_file({"weight": torch.ones(20)}, directory / f"by_rust_{dist.get_rank()}")

    recorded = record(pair, all_of_them, tmp_path, root=tmp_path, backend="preload", block_size=4096)
    recording = recorded.recording
    assert "LD_PRELOAD" not in os.environ
    assert kinds(of(recording, "by_cpp_1")) == ["open", "write", "close"]
    assert kinds(of(recording, "step/.metadata.tmp")) == METADATA
    [renamed] = of(recording, "step/.metadata.tmp", "rename")
    assert renamed.where[1].endswith(" in finish")
    assert describe(renamed) == "rename(step/.metadata.tmp -> step/.metadata) on rank 0"
    if not tells_of_raw_calls:
        pytest.skip("Linux does not tell here of the system calls that Rust code makes by itself")
    [renamed] = [one for one in recording.operations if one.target == "by_rust_1"]
    by_rust = [one for one in recording.operations if one.file == renamed.file]
    assert {"open", "write", "rename", "close"} <= set(kinds(by_rust))


def test_methods_of_cpp_are_put_back_as_they_were(pair):
    def changed():
        from torch._C._distributed_c10d import ProcessGroup, Work

        from faultkit.recording import sync_events

        before = [dict(vars(ProcessGroup)), dict(vars(Work))]
        events = []
        undo = sync_events.watch_collectives(lambda kind, **fields: events.append(fields.get("name")))
        dist.barrier()
        undo()
        dist.barrier()
        return before == [dict(vars(ProcessGroup)), dict(vars(Work))], events.count("barrier")

    for outcome in pair.run(changed).outcomes.values():
        assert outcome.value == (True, 2)


def send_and_keep_no_work(directory, is_kept=False):
    """Rank 0 sends before rank 1 asks, and keeps the work of it or does not; rank 1 gives what it received."""
    (directory / f"of_{dist.get_rank()}").write_bytes(b"1")
    if dist.get_rank() == 0:
        works = [dist.isend(torch.ones(1), 1)]
        if not is_kept:
            works.clear()
        dist.barrier()
        for work in works:
            work.wait()
        return "sent"
    dist.barrier()
    into = torch.zeros(1)
    dist.recv(into, 0)
    return into.item()


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_work_that_nobody_keeps_takes_its_message_with_it_in_a_recorded_run_as_in_any(
    pair, tmp_path, is_kept
):
    alone = pair.run(send_and_keep_no_work, tmp_path, is_kept)
    recorded = record(pair, send_and_keep_no_work, tmp_path, is_kept, root=tmp_path).run
    for run in (alone, recorded):
        assert run.verdict == ("HELD" if is_kept else "HUNG")
        assert run.outcomes[0].value == "sent"
    received = [run.outcomes[1] for run in (alone, recorded)]
    if is_kept:
        assert [one.value for one in received] == [1, 1]
    else:
        assert received[0].waiting == received[1].waiting == "in recv, for rank 0, which returned"


def write_more_than_allowed(directory):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        for number in range(3):
            (directory / f"{dist.get_rank()}_{number}").write_bytes(bytes(1500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_operations_that_could_not_be_kept_are_no_recording_and_no_failure_of_the_run(pair, tmp_path):
    with pytest.raises(RecordingError, match=r"operations could not be kept \(EFBIG"):
        record(pair, write_more_than_allowed, tmp_path, root=tmp_path)
    assert len(list(tmp_path.iterdir())) == 6


@pytest.fixture(scope="module")
def one():
    with World(1) as world:
        yield world


def write_in_threads(root, flags):
    descriptor = os.open(root / "shared", os.O_WRONLY | os.O_CREAT | flags)

    def write(letter):
        for _ in range(100):
            os.write(descriptor, letter * 10)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(descriptor)


@pytest.mark.parametrize("flags", [0, os.O_APPEND], ids=["at its place", "appending"])
def test_threads_that_share_an_open_file_are_recorded_where_they_wrote(one, tmp_path, flags):
    recording = record(one, write_in_threads, tmp_path, flags, root=tmp_path).recording
    written = of(recording, "shared", "write")
    assert sorted(call.offset for call in written) == list(range(0, 4000, 10))
    content = (tmp_path / "shared").read_bytes()
    assert all(content[call.offset : call.offset + 10] == call.data for call in written)


def write_without_a_text(root):
    with open(os.fsencode(root) + b"/\xff\xfe", "wb") as stream:
        stream.write(b"1")


@pytest.mark.parametrize("backend", ["python", "preload"])
def test_a_name_that_is_no_text_is_refused_by_its_name(one, tmp_path, backend):
    if backend == "preload" and shim.compiler() is None:
        pytest.skip("no C compiler builds the preloaded library here")
    with pytest.raises(RecordingError, match=r"text in UTF-8") as refused:
        record(one, write_without_a_text, tmp_path, root=tmp_path, backend=backend)
    assert "\\udcff\\udcfe" in str(refused.value) or "\\xff\\xfe" in str(refused.value)


FRAMES = {
    "a name": (["open", 1, 1, 0, 0, "FFFF"], r"only names that are text in UTF-8 \(got '(\\xff){4}'\)"),
    "a long name": (["open", 1, 1, 0, 0, "FFFF" + "x" * 300], r"text in UTF-8 \(got '(\\xff){4}x{300}'\)"),
    "a line of source": (["open", 1, 1, 0, 0, *["a", "", 0, 0, 0, 0, 0, "", ["b", "FFFF"]]], r"'(\\xff){4}'"),
    "no frame": ("nonsense", r"a frame that is none \(Expected `array`"),
}


@pytest.mark.parametrize("case", FRAMES)
def test_a_frame_that_cannot_be_read_is_refused_by_what_is_wrong_with_it(tmp_path, case):
    frame, why = FRAMES[case]
    head = msgspec.msgpack.encode(frame).replace(b"FFFF", b"\xff" * 4)
    path = tmp_path / "spool"
    path.write_bytes(struct.pack("<II", len(head), 0) + head)
    with pytest.raises(RecordingError, match=why):
        list(read_frames(str(path)))


def rename_into(side, root):
    side.touch()
    os.rename(side, root / "in")


def test_a_rename_into_the_directory_is_refused_with_the_reason(one, tmp_path):
    root = tmp_path / "root"
    with pytest.raises(RecordingError, match=r"no file operation .*noted: rank 0: rename into the recorded"):
        record(one, rename_into, tmp_path / "side", root, root=root)
