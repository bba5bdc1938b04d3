"""The hooks on the engine, and the storage objects that stand in its own, take and give what the engine asks for.

What is compared is the installed torch, as `tests/worlds/simulated/test_signatures_of_torch.py` does it for process
groups and stores.  Left out: what an argument means, which every other test here holds.
"""

from __future__ import annotations

import inspect

import pytest
from torch.distributed.checkpoint import (
    _async_process_executor,
    _async_thread_executor,
    _storage_utils,
    state_dict_loader,
    state_dict_saver,
    utils,
)

from faultkit import FaultPlan
from faultkit.hooks.patches import Patches
from faultkit.injection import engine
from faultkit.injection.objects import Objects
from faultkit.injection.session import Session

# What the hooks on the engine read of a call, by name.
OF_AN_ATTEMPT = "process_group no_dist state_dict planner"
HOOKED = [
    (state_dict_saver, "save", f"{OF_AN_ATTEMPT} storage_writer"),
    (state_dict_saver, "save_state_dict", f"{OF_AN_ATTEMPT} storage_writer coordinator_rank"),
    (state_dict_saver, "_save_state_dict", f"{OF_AN_ATTEMPT} storage_writer coordinator_rank"),
    (state_dict_saver, "async_save", f"{OF_AN_ATTEMPT} storage_writer async_stager"),
    *(
        (state_dict_saver, name, "")
        for name in ("_stateful_to_state_dict",)
        if hasattr(state_dict_saver, name)
    ),
    (state_dict_loader, "load", f"{OF_AN_ATTEMPT} storage_reader"),
    (state_dict_loader, "load_state_dict", f"{OF_AN_ATTEMPT} storage_reader coordinator_rank"),
    (state_dict_loader, "_load_state_dict", f"{OF_AN_ATTEMPT} storage_reader coordinator_rank"),
    (state_dict_loader, "_load_state_dict_from_keys", "process_group storage_reader"),
    (_storage_utils, "_storage_setup", "storage reader"),
    (_async_thread_executor, "save_wrapper", ""),
    (_async_thread_executor._ThreadBasedAsyncCheckpointExecutor, "execute_save", ""),
    (_async_process_executor._ProcessBasedAsyncCheckpointExecutor, "execute_save", ""),
    (_async_process_executor._ProcessBasedAsyncCheckpointExecutor, "_execute_save_impl", ""),
    *((utils._DistWrapper, name, "step") for name in engine.STEP_METHODS),
    *((utils._DistWrapper, name, "") for name in ("gather_object", "all_gather_object", "scatter_object")),
    *((utils._DistWrapper, name, "") for name in ("broadcast_object", "barrier")),
]


@pytest.mark.parametrize(
    ("owner", "name", "read"), HOOKED, ids=lambda value: getattr(value, "__name__", value)
)
def test_what_the_hooks_on_the_engine_stand_on_is_there(owner, name, read):
    assert set(read.split()) <= inspect.signature(getattr(owner, name)).parameters.keys()


def test_the_hooks_are_those_that_are_looked_at_here():
    class Seen(Patches):
        def reroute(self, module, name, wrap, others=()):
            hooked.add(name)
            return super().reroute(module, name, wrap, others)

        def set_attribute(self, owner, name, value):
            hooked.add(name)
            super().set_attribute(owner, name, value)

    hooked, session = set(), Session(FaultPlan())
    session.closed = True
    patches = Seen()
    try:
        engine._install_hooks(engine._Engine(session, Objects(session, patches)), patches)
    finally:
        patches.undo()
    assert len(hooked) > 10 and hooked <= {name for _, name, _ in HOOKED}
