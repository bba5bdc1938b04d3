"""A function that a plain script has taken by name acts on the rank that calls it; tests/conformance has modules."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

SCRIPT = """
from os import _exit, getpid, kill
import torch.distributed as dist
from faultkit import World

def ends():
    if dist.get_rank() == 1:
        _exit(7)
    if dist.get_rank() == 2:
        kill(getpid(), 15)
    return "here"

if __name__ == "__main__":
    with World(3, kind="simulated") as world:
        for outcome in world.run(ends).outcomes.values():
            print(outcome)
"""


def test_a_plain_script_ends_one_rank_only(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=SECONDS_MAX)
    lines = done.stdout.splitlines()
    assert lines[0] == "Returned(value='here')", done.stderr
    assert "7" in lines[1] and "SIGTERM" in lines[2] and len(lines) == 3
