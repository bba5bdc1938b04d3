"""What stands in torch's place takes what torch takes: of every class and function of its own that is replaced.

What is compared is the installed torch: each call of a class that has a stand-in exists there, or is named below as
left out; a stand-in takes as many arguments in their order, and by name those that have a default, which is how new
ones come.  What an argument means is held elsewhere, by programs that run on both (`tests/conformance`).
"""

from __future__ import annotations

import inspect
import re

import pytest
from torch._C import _distributed_c10d as c10d
from torch.distributed import distributed_c10d

from faultkit.hooks.distributed_calls import COLLECTIVES, MESSAGES
from faultkit.worlds.simulated.network import (
    c10d_state,
    data_parallel,
    opened_stores,
    process_group,
    store,
    works,
)

# What torch has and a stand-in inherits: what asks for another device or for hooks, what is C++'s own, what is new.
LEFT_OUT = {
    "ProcessGroupGloo": (
        "_add_ephemeral_timeout _enable_collectives_timing _end_coalescing _register_on_completion_hook "
        "_set_group_uid _wait_for_pending_works allocate_tensor allreduce_sparse create_default_device create_device "
        "eager_connect_single_device get_error get_reconfigure_handle memory_stats merge new_window reconfigure "
        "register_abort_hook resume setUsePgForSymmMemRendezvous shrink split supports_tensor_alloc suspend "
        "unregister_abort_hook"
    ),
    "ProcessGroup": (
        "_add_ephemeral_timeout _backend_id _enable_collectives_timing _end_coalescing _id _register_backend "
        "_register_on_completion_hook _set_default_backend _set_group_desc _wait_for_pending_works boxed get_backend "
        "get_reconfigure_handle merge_remote_group new_window reconfigure register_abort_hook register_post_hook "
        "register_pre_hook split_group unbox unregister_abort_hook unregister_post_hook unregister_pre_hook"
    ),
    "Work": (
        "_get_duration _get_op_type _get_sequence_number block_current_stream boxed get_future_result unbox"
    ),
    "Store": "barrier",
    "Logger": (
        "_get_ddp_logging_data _set_comm_hook_name _set_static_graph _set_uneven_input_join set_error_and_log "
        "set_runtime_stats_and_log"
    ),
}
# Further forms of a call, for one tensor or with options by name, which the stand-in has not.
FORMS_LEFT_OUT = (
    "__init__(store, rank, size, options) __init__(rank, size) _start_coalescing() "
    "allgather(output_tensors, input_tensor, timeout) "
    "allreduce(tensors, op, timeout) allreduce(tensor, op, timeout) broadcast(tensor, root, timeout) "
    "gather(output_tensors, input_tensor, root, timeout) scatter(output_tensor, input_tensors, root, timeout) "
    "reduce(tensor, root, op, timeout) reduce_scatter(output_tensors, input_tensor, op, timeout) "
    "reduce_scatter(output, input, op, timeout) barrier(timeout) "
    "alltoall_base(output, input, output_split_sizes, input_split_sizes, timeout) "
    "all_to_all_single(output, input, output_split_sizes, input_split_sizes, timeout) "
)
STAND_INS = [
    (c10d.ProcessGroupGloo, process_group.SimulatedGroup),
    (c10d.ProcessGroup, process_group.SimulatedGroup),
    (c10d.Work, works.SimulatedWork),
    (c10d.Store, opened_stores._Extended),
    (c10d.FileStore, opened_stores.SimulatedFileStore),
    (c10d.HashStore, opened_stores.SimulatedHashStore),
    (c10d.TCPStore, opened_stores.SimulatedTCPStore),
    (c10d.PrefixStore, store.SimulatedPrefixStore),
    (c10d.Logger, data_parallel._Logger),
]


def forms(name, call):
    """[[(parameter, whether it has a default)]] of a call of C++, one for each form of it, off what it says itself."""
    found = []
    for line in (call.__doc__ or "").splitlines():
        described = re.match(rf"\s*(?:\d+\. )?{name}\(self: ?(.*)\) -> ", line)
        if described:
            _, *parameters = split(described[1])
            found.append(
                [(each.partition(":")[0].partition("=")[0].strip(), "=" in each) for each in parameters]
            )
    return found


def split(text):
    """The parts between the commas that stand in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{<") - (character in ")]}>")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def own(cls, name):
    """What faultkit has under the name, None where it is torch's."""
    for base in cls.__mro__:
        if name in vars(base) and base.__module__.startswith("faultkit."):
            return vars(base)[name]
    return None


def refusal(taking, form):
    """Why `taking` cannot be called so, None where it can."""
    positional = [object()] * len(form)
    named = {
        name: object() for name, has_default in form if has_default and not re.fullmatch(r"arg\d+", name)
    }
    try:
        inspect.signature(taking).bind(None, *positional)
        inspect.signature(taking).bind(None, *positional[: len(form) - len(named)], **named)
    except TypeError as error:
        return str(error)
    return None


def differences(theirs, ours):
    """What the stand-in `ours` does not have of torch's class, as sentences."""
    left_out = LEFT_OUT.get(theirs.__name__, "").split()
    if theirs in (c10d.Store, c10d.Work):  # users make neither
        left_out.append("__init__")
    for name, call in inspect.getmembers(theirs, callable):
        if (
            isinstance(call, type)
            or (name.startswith("__") and name != "__init__")
            or name.startswith("_pybind11")
        ):
            continue
        if name in left_out or any(name in vars(base) for base in theirs.__mro__[1:]):
            continue
        taking = own(ours, name)
        if taking is None:
            yield f"{theirs.__name__}.{name} has no stand-in"
            continue
        for form in forms(name, call):
            told = f"{name}({', '.join(parameter for parameter, _ in form)})"
            why = refusal(taking, form)
            if why is not None and told not in FORMS_LEFT_OUT:
                yield f"{theirs.__name__}.{told}: {why}"


@pytest.mark.parametrize(("theirs", "ours"), STAND_INS, ids=lambda cls: cls.__name__)
def test_a_stand_in_takes_what_torch_takes(theirs, ours):
    assert list(differences(theirs, ours)) == []


def test_a_call_that_is_new_or_takes_more_is_told():
    class Theirs:
        def put(self): ...
        def get(self): ...
        def wait(self): ...

    Theirs.put.__doc__ = "put(self: Theirs, key: str, value: str, lease: int = 0) -> None"
    Theirs.get.__doc__ = "get(self: Theirs, key: str, patience: int = 0) -> str"

    class Ours(Theirs):
        def put(self, key, value, lease=0): ...
        def get(self, key, limit=0): ...

    Ours.__module__ = "faultkit.ours"
    assert list(differences(Theirs, Ours)) == [
        "Theirs.get(key, patience): got an unexpected keyword argument 'patience'",
        "Theirs.wait has no stand-in",
    ]


def test_a_group_whose_members_are_to_change_is_refused():
    with pytest.raises(NotImplementedError, match="enable_reconfigure=True needs a world of kind 'warm'"):
        process_group.SimulatedGroup(None, 0, 1, enable_reconfigure=True)


def test_a_rank_has_all_that_torch_keeps_for_a_process():
    names = {name for name, value in vars(distributed_c10d._World).items() if isinstance(value, property)}
    assert "pg_map" in names and names <= set(dir(c10d_state.RankWorld()))


def test_each_call_of_a_group_that_gives_a_work_is_watched():
    """What is not watched looks like a rank at work, and no hang in it is ever proven."""
    gives = {
        name
        for name, call in inspect.getmembers(c10d.ProcessGroup, callable)
        if "Work" in (call.__doc__ or "")
    }
    assert "allreduce" in gives
    others = {
        "_end_coalescing",
        "_register_on_completion_hook",
        "reconfigure",
    }  # gloo has none of them to wait in
    assert gives - others == {name for name in (*COLLECTIVES, *MESSAGES) if hasattr(c10d.ProcessGroup, name)}
