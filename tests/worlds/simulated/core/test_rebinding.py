"""A function that a plain script has taken by name acts on the rank that calls it; tests/conformance has modules."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest
from torch.distributed import distributed_c10d

from faultkit.worlds.simulated.core import group_names, rebinding
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


def test_a_module_that_came_since_is_one_of_the_users(monkeypatch, tmp_path):
    before = rebinding.user_modules()
    assert rebinding.user_modules() is before
    module = types.ModuleType("come_since")
    module.__file__ = str(tmp_path / "come_since.py")
    monkeypatch.setitem(sys.modules, "come_since", module)
    assert module in rebinding.user_modules() and module not in before


def test_what_torch_took_by_name_is_found_anew_where_a_module_came(monkeypatch):
    found = group_names.who_has_them()
    assert found and group_names.who_has_them() is found
    module = types.ModuleType("torch.come_since")
    module._resolve_process_group = distributed_c10d._resolve_process_group
    monkeypatch.setitem(sys.modules, "torch.come_since", module)
    assert (module, "_resolve_process_group") in group_names.who_has_them()
