"""What a collective sends: each algorithm conserves bytes, and the counts are the known ones."""

from __future__ import annotations

import pytest

from faultkit.scale.traffic_counter import traffic

SIZES = [1, 2, 3, 4, 5, 8, 13]
ROOTED = ["gather", "scatter", "broadcast"]


def whole(kind, size, root=-1, item_bytes=120):
    rows = [traffic(kind, size, item_bytes, rank, root) for rank in range(size)]
    return [sum(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [*ROOTED, "allgather", "barrier"])
def test_what_is_sent_is_received(kind, size):
    for root in range(size) if kind in ROOTED else [-1]:
        _, sent, received = whole(kind, size, root)
        assert sent == received


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ROOTED)
def test_a_rooted_collective_sends_one_item_to_or_from_each_other_member(kind, size):
    for root in range(size):
        assert whole(kind, size, root) == [size - 1, 120 * (size - 1), 120 * (size - 1)]


def test_the_root_of_a_broadcast_sends_to_as_many_as_the_tree_is_deep():
    assert [traffic("broadcast", size, 1, 0, 0)[0] for size in (2, 3, 4, 5, 8, 9)] == [1, 2, 2, 3, 3, 4]


def test_everybody_gets_everything_in_an_allgather():
    assert traffic("allgather", 5, 120, 3, -1) == (8, 480, 480)


def test_a_barrier_takes_a_message_for_each_doubling():
    assert [traffic("barrier", size, 0, 0, -1)[0] for size in (1, 2, 3, 4, 5, 8, 9)] == [0, 1, 2, 2, 3, 3, 4]
