"""What carries things between processes: messages arrive whole or not at all, and what is written stays."""

from __future__ import annotations

import os
import threading

import pytest

from faultkit.processes.channel import Channel, ChannelClosed, ChannelTimeout
from faultkit.processes.memory import MEMORY_BYTES, RankMemory, create_memory
from faultkit.runs.records import records


@pytest.fixture
def ends():
    one, theirs = Channel.pair()
    other = Channel(theirs)
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def memory():
    """(the writer's mapping, the reader's) of one memory."""
    descriptor = create_memory()
    writer, reader = RankMemory(descriptor), RankMemory(descriptor)
    os.close(descriptor)
    yield writer, reader
    writer.close()
    reader.close()


def test_messages_arrive_whole_and_in_order(ends):
    one, other = ends
    for number in range(100):
        one.send(("number", number, "x" * number))

    assert [other.receive(timeout_seconds=5)[1] for _ in range(100)] == list(range(100))


def test_a_message_larger_than_the_buffer_of_the_socket_arrives_whole(ends):
    one, other = ends
    sender = threading.Thread(target=one.send, args=(("large", b"x" * (8 << 20)),))
    sender.start()
    _, body = other.receive(timeout_seconds=10)
    sender.join()

    assert len(body) == 8 << 20


def test_descriptors_come_with_their_message(ends):
    one, other = ends
    reading, writing = os.pipe()
    one.send(("take",), (reading, writing))
    os.close(reading)
    os.close(writing)

    verb, (its_reading, its_writing) = other.receive(timeout_seconds=5)

    assert verb == "take" and os.write(its_writing, b"through") == 7
    assert os.read(its_reading, 7) == b"through"
    os.close(its_reading)
    os.close(its_writing)


def test_what_was_sent_before_the_end_is_read_before_the_end_is_told(ends):
    one, other = ends
    one.send(("last words",))
    one.close()

    assert other.receive_ready() == [("last words",)]
    with pytest.raises(ChannelClosed):
        other.receive_ready()
    with pytest.raises(ChannelClosed):
        other.send(("anybody there",))


def test_no_wait_is_without_end(ends):
    one, other = ends

    with pytest.raises(ChannelTimeout):
        other.receive(timeout_seconds=0.01)
    with pytest.raises(ChannelTimeout):
        one.send(("nobody reads", b"x" * (8 << 20)), timeout_seconds=0.01)
    assert one.receive_ready() == []


def test_a_record_is_there_the_moment_it_was_written(memory):
    writer, reader = memory
    writer.append("fired", {"fault": 0, "step": None})
    writer.append("called", {"point": "writer.finish", "ok": True})

    assert [(kind, data) for _, kind, data in records(reader.log())] == [
        ("fired", {"fault": 0, "step": None}),
        ("called", {"point": "writer.finish", "ok": True}),
    ]
    times = [time_ns for time_ns, _, _ in records(reader.log())]
    assert times == sorted(times) and times[0] > 0


def test_what_no_plain_value_can_hold_is_recorded_as_text(memory):
    writer, reader = memory
    writer.append("event", {"path": os, "text": "\ud800", "ranks": {0: (1, 2)}})

    ((_, _, data),) = records(reader.log())
    assert data["text"] == "\\ud800" and data["ranks"] == {0: [1, 2]} and "module 'os'" in data["path"]


def test_records_of_many_threads_do_not_mix(memory):
    writer, reader = memory
    threads = [
        threading.Thread(
            target=lambda n=n: [writer.append("from", {"thread": n, "i": i}) for i in range(200)]
        )
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = [(data["thread"], data["i"]) for _, _, data in records(reader.log())]
    assert sorted(found) == [(n, i) for n in range(4) for i in range(200)]


def test_a_full_log_counts_what_it_drops_and_keeps_the_rest(memory):
    writer, reader = memory
    writer.append("first", {})
    for _ in range(6):
        writer.append("large", {"text": "x" * (MEMORY_BYTES // 4)})
    writer.append("small", {})

    kinds = [kind for _, kind, _ in records(reader.log())]
    assert kinds == ["first", "large", "large", "large", "small"] and reader.dropped() == 3
    reader.clear_log()
    assert reader.log() == b"" and writer.dropped() == 0


def test_a_thread_is_seen_inside_its_call_and_not_after(memory):
    writer, reader = memory
    for native_id in range(40):  # more than there are slots
        writer.thread_enters(native_id, "allreduce", "0", "gather_object|plan", 3, -1)
    assert len(reader.threads()) == 32 and reader.threads()[0][:6] == (
        0,
        "allreduce",
        "0",
        "gather_object|plan",
        3,
        -1,
    )
    for native_id in range(40):
        writer.thread_leaves(native_id)
    assert reader.threads() == []


def test_calls_are_counted_by_group(memory):
    writer, reader = memory
    for group, times in (("0", 3), ("1", 2)):
        assert [writer.count(group, entered=1) for _ in range(times)] == list(range(1, times + 1))
    writer.count("0", left=1)

    assert [(g.name, g.entered, g.left) for g in reader.groups()] == [("0", 3, 1), ("1", 2, 0)]
