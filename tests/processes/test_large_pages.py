"""A process that forks keeps what it has when its memory goes to large pages, and forks from then on for less."""

from __future__ import annotations

import os
import platform
import re
import time

import pytest

from faultkit import World
from faultkit.processes.large_pages import use_large_pages

KERNEL = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])


def large_kib(pid: int | str) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return int(re.search(r"AnonHugePages: +(\d+)", rollup.read())[1])


def server_of_this_rank() -> int:
    return os.getppid()


def test_the_content_stays():
    there = bytearray(os.urandom(1 << 20) * 8)
    copy = bytes(there)
    assert sum(1 for _ in use_large_pages()) >= 2
    assert there == copy


@pytest.mark.skipif(KERNEL < (6, 1), reason="MADV_COLLAPSE is of Linux 6.1")
def test_a_server_that_forks_often_does_it_in_its_pauses():
    with World(3, kind="fresh") as world:
        deadline = time.monotonic() + 30
        seen = 0
        while not seen and time.monotonic() < deadline:
            server = world.run(server_of_this_rank).outcomes[0].value
            seen = large_kib(server)
        assert seen
        assert [outcome.value for outcome in world.run(server_of_this_rank).outcomes.values()] == [server] * 3
