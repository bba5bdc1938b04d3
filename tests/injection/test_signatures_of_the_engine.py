"""The hooks on the engine, and the storage objects that stand in its own, take and give what the engine asks for.

What is compared is the installed torch, as `tests/worlds/simulated/test_signatures_of_torch.py` does it for process
groups and stores.  Left out: what an argument means, which every other test here holds.
"""

from __future__ import annotations

import inspect
import types
import typing

import pytest
import safetensors.torch
import torch
from torch.distributed.checkpoint import (
    _async_process_executor,
    _async_thread_executor,
    _storage_utils,
    filesystem,
    planner,
    state_dict,
    state_dict_loader,
    state_dict_saver,
    storage,
    utils,
)
from torch.distributed.checkpoint.metadata import Metadata

from faultkit import FaultPlan, FaultyStorageReader, FaultyStorageWriter
from faultkit.injection.engine import hooks
from faultkit.injection.engine.objects import Objects
from faultkit.injection.session import Session
from faultkit.interception.patches import Patches
from faultkit.repro.script_work import STORES_NOTHING

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
    (
        _async_process_executor._ProcessBasedAsyncCheckpointExecutor,
        "_execute_save_impl",
        "storage_writer checkpoint_id no_dist use_collectives process_group",
    ),
    (_async_process_executor._AsyncCheckpointProcess, "_execute_save", ""),
    *((utils._DistWrapper, name, "step") for name in hooks.STEP_METHODS),
    *((utils._DistWrapper, name, "") for name in ("gather_object", "all_gather_object", "scatter_object")),
    *((utils._DistWrapper, name, "") for name in ("broadcast_object", "barrier")),
    (state_dict, "_get_model_state_dict", "model info"),
    (state_dict, "_get_optim_state_dict", "model optimizers info"),
    (state_dict, "_load_model_state_dict", "model state_dict info"),
    (state_dict, "_load_optim_state_dict", "model optimizers state_dict info"),
    *((torch.nn.Module, name, "") for name in ("state_dict", "load_state_dict")),
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
        hooks._install_hooks(hooks._Engine(session, Objects(session, patches)), patches)
    finally:
        patches.undo()
    assert len(hooked) > 10 and hooked <= {name for _, name, _ in HOOKED}


# What is read of a call by its place, of every method of the interface of files: paths come first, one or two.
PLACES = {
    filesystem.FileSystemBase: {
        "concat_path": "path suffix",
        "create_stream": "path mode",
        "exists": "path",
        "init_path": "path",
        "mkdir": "path",
        "rename": "path new_path",
        "rm_file": "path",
        "validate_checkpoint_id": "checkpoint_id",
    },
    utils._DistWrapper: dict.fromkeys(hooks.STEP_METHODS, "step"),
    storage.StorageWriter: {"prepare_local_plan": "plan", "prepare_global_plan": "plans"},
    storage.StorageReader: {"prepare_local_plan": "plan", "prepare_global_plan": "plans"},
    torch: {"save": "obj f"},
    safetensors.torch: {"save_file": "tensors filename", "load_file": "filename"},
}


def methods(interface):
    """{name: function} of what a class has for others; a class method is given as what it wraps."""
    found = {name: inspect.getattr_static(interface, name) for name in dir(interface) if name[0] != "_"}
    found = {name: getattr(method, "__func__", method) for name, method in found.items()}
    return {name: method for name, method in found.items() if inspect.isfunction(method)}


def parameters(function):
    """The names of what a call is given, without the object that it is a method of."""
    names = list(inspect.signature(function).parameters)
    return names[1:] if names[0] in ("self", "cls") else names


@pytest.mark.parametrize("owner", PLACES, ids=lambda owner: owner.__name__)
def test_what_is_read_of_a_call_stands_where_it_is_looked_for(owner):
    found = {name: parameters(getattr(owner, name)) for name in PLACES[owner]}
    assert {name: " ".join(names[: len(PLACES[owner][name].split())]) for name, names in found.items()} == (
        PLACES[owner]
    )


def test_every_method_of_a_file_system_is_known_with_its_paths():
    assert methods(filesystem.FileSystemBase).keys() == PLACES[filesystem.FileSystemBase].keys()


@pytest.mark.parametrize(
    ("interface", "name"),
    [(storage.StorageWriter, "set_up_storage_writer"), (storage.StorageReader, "set_up_storage_reader")],
)
def test_whether_a_rank_coordinates_is_the_one_yes_or_no_that_storage_is_set_up_with(interface, name):
    hints = typing.get_type_hints(getattr(interface, name))
    assert [parameter for parameter, hint in hints.items() if hint is bool] == ["is_coordinator"]


SAVED, LOADED = planner.SavePlan([]), planner.LoadPlan([])
GIVEN = {
    planner.SavePlan: SAVED,
    list[planner.SavePlan]: [SAVED],
    planner.LoadPlan: LOADED,
    list[planner.LoadPlan]: [LOADED],
}


def differences(interface, standing_in):
    """What `standing_in` cannot be called with, or gives of another kind than torch's class says, as sentences."""
    for name, function in methods(interface).items():
        hints = typing.get_type_hints(function)
        named = [p.name for p in inspect.signature(function).parameters.values() if p.kind < p.VAR_POSITIONAL]
        values = {name: GIVEN.get(hints[name], object()) for name in named if name not in ("self", "cls")}
        for args, kwargs in [(tuple(values.values()), {}), ((), values)]:
            try:
                given = getattr(standing_in, name)(*args, **kwargs)
            except (AttributeError, TypeError) as error:
                yield f"{name}: {error}"
                break
            if not is_of(given, hints["return"]):
                yield f"{name} must give {hints['return']} (got {given!r})"
                break


def is_of(value, hint):
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return any(is_of(value, one) for one in typing.get_args(hint))
    return isinstance(value, typing.get_origin(hint) or hint)


def scripted_writer():
    """The writer of a plain script, as the script has it."""
    script = {"torch": torch}
    exec(STORES_NOTHING, script)
    return script["FaultyStorageWriter"]()


@pytest.mark.parametrize(
    ("interface", "make"),
    [
        (storage.StorageWriter, lambda: FaultyStorageWriter("")),
        (storage.StorageReader, lambda: FaultyStorageReader("", metadata=Metadata({}))),
        (storage.StorageWriter, scripted_writer),
    ],
    ids=["FaultyStorageWriter", "FaultyStorageReader", "of a script"],
)
def test_storage_that_does_nothing_takes_and_gives_what_the_engine_asks_for(interface, make):
    assert list(differences(interface, make())) == []


def test_a_method_of_storage_that_is_new_or_gives_something_else_is_told():
    class Later(storage.StorageWriter):
        def seal(self, place: str) -> bool: ...
        def storage_meta(self) -> dict: ...
        def reset(self, checkpoint_id: str, lease: int = 0) -> None: ...

    assert list(differences(Later, scripted_writer())) == [
        "reset: FaultyStorageWriter.reset() takes from 1 to 2 positional arguments but 3 were given",
        "seal: 'FaultyStorageWriter' object has no attribute 'seal'",
        "storage_meta must give <class 'dict'> (got None)",
    ]


@pytest.mark.parametrize(
    ("saving", "default"),
    [
        (state_dict_saver._save_state_dict, "DefaultSavePlanner()"),
        (state_dict_loader._load_state_dict, "DefaultLoadPlanner()"),
    ],
    ids=["save", "load"],
)
def test_the_planner_that_is_made_is_the_one_that_the_engine_would_make(saving, default):
    assert f"planner = {default}" in inspect.getsource(saving)
