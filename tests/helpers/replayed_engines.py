"""Work on ranks for `test_replay`: for each verdict an engine and a plan that come to it, named as scenarios are."""

from __future__ import annotations

import os
import threading

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from tests.helpers import defective_engines as engines

RAISE = "storage.write_data@1=raise(ValueError)"
DELAY = "storage.write_data@1=delay(0.001)"
HERE = __name__

# verdict: scenario, plan; the scenario is a function of this module, or a built-in one
CASES = {
    "SILENT_WRONG": (f"{HERE}:saves_zeros", DELAY),
    "LOST_WORK": ("dcp-save,threads=2", "fs.create_stream@0#1=raise(OSError, EIO)"),
    "HUNG": ("dcp-save", "writer.reset@1=raise(ValueError)"),
    "DIED": (f"{HERE}:dies_after_a_save", DELAY),
    "PARTIAL": (f"{HERE}:tells_only_the_coordinator", RAISE),
    "MISATTRIBUTED": (f"{HERE}:loses_a_rank", "storage.write_data@0-1=raise(ValueError)"),
    "MASKED": ("dcp-load", "reader.read_metadata@1=raise(ValueError)"),
    "LATE": (f"{HERE}:tells_at_the_timeout", RAISE),
    "LEAKED": (f"{HERE}:leaves_a_thread", RAISE),
    "UNUSABLE": (f"{HERE}:fails_after_a_save", DELAY),
    "INERT": ("dcp-save", "reader.read_data@1=raise(ValueError)"),
    "HELD": ("dcp-save", RAISE),
}


class Zeroing(dcp.FileSystemWriter):
    """Writes zeros for what rank 1 was given, and says that all is well."""

    def write_data(self, plan, planner):
        resolve = planner.resolve_data

        def resolve_zeroed(item):
            data = resolve(item)
            return torch.zeros_like(data) if isinstance(data, torch.Tensor) and dist.get_rank() == 1 else data

        planner.resolve_data = resolve_zeroed
        return super().write_data(plan, planner)


def saves_zeros(directory):
    state = {f"weight of {dist.get_rank()}": torch.ones(4)}
    dcp.save(state, storage_writer=Zeroing(directory))


def dies_after_a_save():
    engines.save()
    if dist.get_rank() == 1:
        os._exit(3)
    dist.barrier()


def tells_only_the_coordinator():
    engines.save("tells_only_the_coordinator")


def loses_a_rank():
    engines.save("loses_the_highest_of_several_ranks")


def tells_at_the_timeout():
    engines.save("tells_at_the_timeout")


def leaves_a_thread():
    try:
        engines.save()
    finally:
        threading.Thread(target=threading.Event().wait, name="left behind", daemon=True).start()


def fails_after_a_save():
    engines.save()
    raise LookupError("nothing had been broken")
