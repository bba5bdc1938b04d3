"""Pieces of torch.distributed.checkpoint, with good and bad writers, readers, planners and state.

`_DistWrapper` is what the engine says everything through: its methods are run by themselves, and then
whole saves and loads.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.utils import _DistWrapper

from tests.conformance.spmd_program import program, register

warnings.filterwarnings("ignore", category=FutureWarning)
warnings.filterwarnings("ignore", category=UserWarning)


def me():
    return dist.get_rank()


def wrapper(coordinator=0, group=None):
    return _DistWrapper(group, True, coordinator)


def shared_directory():
    """One directory that all ranks know; rank 0 makes it."""
    path = [tempfile.mkdtemp(prefix="conformance-") if me() == 0 else None]
    dist.broadcast_object_list(path)
    return path[0]


def in_a_directory(function):
    """`function(path)` on every rank, then the directory goes, if everybody comes to that."""
    path = shared_directory()
    try:
        result = function(path)
    except BaseException:
        if me() == 0:
            shutil.rmtree(path, ignore_errors=True)
        raise
    dist.barrier()
    if me() == 0:
        shutil.rmtree(path, ignore_errors=True)
    return result


def state():
    return {"weight": torch.arange(6.0), "step": 3, f"of rank {me()}": torch.full((2,), float(me()))}


# -- _DistWrapper --------------------------------------------------------------------------------


@program(size=3, often=False)
def broadcast_object():
    return wrapper().broadcast_object({"from": 0} if me() == 0 else None)


@program(size=3)
def gather_object():
    return wrapper(1).gather_object(f"of {me()}")


@program(size=3, often=False)
def all_gather_object():
    return wrapper().all_gather_object(me())


@program(size=3)
def scatter_object():
    return wrapper(2).scatter_object([10, 11, 12] if me() == 2 else None)


@program(size=3)
def reduce_scatter():
    return wrapper().reduce_scatter("plan", lambda: me(), lambda all_of: [sum(all_of) + n for n in range(3)])


@program(size=3)
def all_reduce():
    return wrapper().all_reduce("sum", lambda: me(), sum)


@program(size=3)
def all_gather():
    return wrapper().all_gather("collect", lambda: me() * 2)


@program(size=3)
def broadcast():
    return wrapper().broadcast("tell", lambda: f"by {me()}")


@program(often=False)
def barrier():
    wrapper().barrier()
    return "through"


def fails(step, where, local):
    """`step` of the wrapper; on ranks `where` the local part, or else the coordinator's part, raises."""

    def part(value):
        def run(*_):
            if me() in where and value == local:
                raise ValueError(f"on {me()}")
            return [1, 2, 3] if value == "global" and step == "reduce_scatter" else 5

        return run

    call = getattr(wrapper(), step)
    if step in ("reduce_scatter", "all_reduce"):
        return call("the step", part("local"), part("global"))
    return call("the step", part("local"))


for _step in ("reduce_scatter", "all_reduce", "all_gather", "broadcast"):
    for _where in ((1,), (0,), (0, 1, 2)):
        register(
            fails,
            _step,
            _where,
            "local",
            name=f"{_step} fails on {'-'.join(map(str, _where))}",
            size=3,
            often=len(_where) < 3 and _step in ("reduce_scatter", "all_reduce"),
        )
for _step in ("reduce_scatter", "all_reduce"):
    register(fails, _step, (0,), "global", name=f"{_step} fails on the coordinator", size=3)


@program(size=3)
def a_step_that_one_rank_misses():
    if me() == 1:
        return "absent"
    return wrapper().all_reduce("sum", lambda: 1, sum)


@program(size=3)
def a_step_that_the_coordinator_misses():
    if me() == 0:
        return "absent"
    return wrapper().all_reduce("sum", lambda: 1, sum)


@program(size=3)
def a_step_in_which_one_rank_dies():
    return wrapper().all_reduce("sum", lambda: os._exit(9) if me() == 1 else 1, sum)


@program(size=3)
def a_step_in_which_the_coordinator_dies():
    return wrapper().reduce_scatter("plan", lambda: 1, lambda _: os._exit(9))


@program(size=3)
def a_step_that_leaves_by_an_interrupt():
    def interrupted():
        if me() == 1:
            raise KeyboardInterrupt
        return 1

    return wrapper().all_reduce("sum", interrupted, sum)


@program(size=3)
def a_step_that_raises_what_does_not_pickle():
    class Local(Exception):
        def __reduce__(self):
            raise TypeError("stays here")

    def hostile():
        if me() == 1:
            raise Local("x")
        return 1

    return wrapper().all_reduce("sum", hostile, sum)


@program(size=3)
def a_step_in_a_group():
    group = dist.new_group([1, 2])
    if me() == 0:
        return "outside"
    return wrapper(1, group).all_reduce("sum", lambda: me(), sum)


@program()
def two_steps_in_two_orders():
    steps = [lambda: wrapper().all_gather("one", lambda: 1), lambda: wrapper().broadcast("two", lambda: 2)]
    return [step() for step in (steps if me() else reversed(steps))]


# -- whole saves and loads -----------------------------------------------------------------------


@program()
def save_and_load():
    def both(path):
        dcp.save(state(), checkpoint_id=path)
        target = {"weight": torch.zeros(6), "step": 0, f"of rank {me()}": torch.zeros(2)}
        dcp.load(target, checkpoint_id=path)
        return (
            target["weight"].tolist(),
            target["step"],
            target[f"of rank {me()}"].tolist(),
            len(os.listdir(path)),
        )

    return in_a_directory(both)


@program(size=3, often=False)
def save_twice():
    def twice(path):
        for number in range(2):
            dcp.save({"number": torch.tensor([number])}, checkpoint_id=path)
        target = {"number": torch.tensor([9])}
        dcp.load(target, checkpoint_id=path)
        return target["number"].item()

    return in_a_directory(twice)


class Writer(dcp.FileSystemWriter):
    """Raises at one method on rank 1."""

    def __init__(self, path, method, error=OSError):
        super().__init__(path)
        original = getattr(self, method)

        def replaced(*args, **kwargs):
            if me() == 1:
                raise error(28, "No space left on device")
            return original(*args, **kwargs)

        setattr(self, method, replaced)


def save_with_a_bad_writer(method, error=OSError):
    return in_a_directory(lambda path: dcp.save(state(), storage_writer=Writer(path, method, error)) and "ok")


for _method in (
    "reset",
    "set_up_storage_writer",
    "prepare_local_plan",
    "prepare_global_plan",
    "write_data",
    "finish",
):
    register(save_with_a_bad_writer, _method, name=f"a writer that fails in {_method}", size=3)
register(save_with_a_bad_writer, "write_data", KeyboardInterrupt, name="a writer that is interrupted", size=3)


class BadPlanner(DefaultSavePlanner):
    def __init__(self, method):
        super().__init__()
        original = getattr(self, method)

        def replaced(*args, **kwargs):
            if me() == 0:
                raise RuntimeError(f"no {method}")
            return original(*args, **kwargs)

        setattr(self, method, replaced)


def save_with_a_bad_planner(method):
    return in_a_directory(
        lambda path: dcp.save(state(), checkpoint_id=path, planner=BadPlanner(method)) and "ok"
    )


for _method in ("create_local_plan", "create_global_plan", "finish_plan", "resolve_data"):
    register(save_with_a_bad_planner, _method, name=f"a planner that fails in {_method}")


@program()
def a_writer_whose_future_fails():
    class Late(dcp.FileSystemWriter):
        def write_data(self, plan, planner):
            if me() == 0:
                return super().write_data(plan, planner)
            future = torch.futures.Future()
            future.set_exception(OSError(5, "Input/output error"))
            return future

    return in_a_directory(lambda path: dcp.save(state(), storage_writer=Late(path)) and "ok")


@program(often=False)
def a_writer_with_threads():
    def save(path):
        writer = dcp.FileSystemWriter(path, thread_count=2)
        dcp.save({f"{me()} {number}": torch.ones(3) for number in range(6)}, storage_writer=writer)
        return len([name for name in os.listdir(path) if name.endswith(".distcp")])

    return in_a_directory(save)


@program(often=False)
def load_of_nothing():
    return in_a_directory(lambda path: dcp.load({"weight": torch.zeros(6)}, checkpoint_id=path))


@program()
def load_of_a_key_that_was_not_saved():
    def load(path):
        dcp.save({"weight": torch.ones(6)}, checkpoint_id=path)
        dcp.load({"other": torch.zeros(6)}, checkpoint_id=path)

    return in_a_directory(load)


@program()
def load_of_what_one_rank_lacks():
    def load(path):
        dcp.save({"weight": torch.ones(6)}, checkpoint_id=path)
        target = {"weight": torch.zeros(6)} if me() == 0 else {}
        dcp.load(target, checkpoint_id=path)
        return {key: value.tolist() for key, value in target.items()}

    return in_a_directory(load)


@program()
def load_into_another_shape():
    def load(path):
        dcp.save({"weight": torch.ones(6)}, checkpoint_id=path)
        dcp.load({"weight": torch.zeros(4)}, checkpoint_id=path)

    return in_a_directory(load)


@program(often=False)
def load_that_allows_gaps():
    def load(path):
        dcp.save({"weight": torch.ones(2)}, checkpoint_id=path)
        target = {"weight": torch.zeros(2), "other": torch.zeros(1)}
        dcp.load(target, checkpoint_id=path, planner=DefaultLoadPlanner(allow_partial_load=True))
        return target["weight"].tolist(), target["other"].tolist()

    return in_a_directory(load)


@program()
def a_reader_that_fails():
    class Reader(dcp.FileSystemReader):
        def read_data(self, plan, planner):
            if me() == 1:
                raise OSError(5, "Input/output error")
            return super().read_data(plan, planner)

    def load(path):
        dcp.save(state(), checkpoint_id=path)
        dcp.load({"weight": torch.zeros(6)}, storage_reader=Reader(path))

    return in_a_directory(load)


@program()
def a_value_that_does_not_pickle():
    return in_a_directory(
        lambda path: dcp.save({"bad": lambda: None, "w": torch.ones(1)}, checkpoint_id=path)
    )


@program()
def one_rank_does_not_save():
    path = shared_directory()
    if me() == 0:
        dcp.save(state(), checkpoint_id=path)
    return "absent"


@program()
def one_rank_saves_and_one_loads():
    path = shared_directory()
    if me() == 0:
        dcp.save({"weight": torch.ones(6)}, checkpoint_id=path)
    else:
        dcp.load({"weight": torch.ones(6)}, checkpoint_id=path)


@program(often=False)
def without_distribution():
    """Each rank saves for itself."""
    path = tempfile.mkdtemp(prefix="conformance-")
    dcp.save({"weight": torch.ones(2)}, checkpoint_id=path, no_dist=True)
    names = sorted(os.listdir(path))
    shutil.rmtree(path)
    return names


@program(size=3)
def save_in_a_group():
    group = dist.new_group([0, 2])
    path = shared_directory()
    if me() != 1:
        dcp.save({"weight": torch.ones(2)}, checkpoint_id=path, process_group=group)
    dist.barrier()
    names = sorted(os.listdir(path))
    dist.barrier()
    if me() == 0:
        shutil.rmtree(path)
    return names


@program()
def an_asynchronous_save():
    def save(path):
        future = dcp.async_save(state(), checkpoint_id=path, process_group=dist.new_group([0, 1]))
        future.result(timeout=60)
        return os.path.exists(os.path.join(path, ".metadata"))

    return in_a_directory(save)


@program()
def an_asynchronous_save_that_fails():
    def save(path):
        future = dcp.async_save(
            state(), storage_writer=Writer(path, "write_data"), process_group=dist.new_group([0, 1])
        )
        return future.result(timeout=60) and "ok"

    return in_a_directory(save)


@program(often=False)
def an_asynchronous_save_beside_collectives():
    def save(path):
        future = dcp.async_save(state(), checkpoint_id=path, process_group=dist.new_group([0, 1]))
        tensor = torch.ones(1)
        for _ in range(5):
            dist.all_reduce(tensor)
        future.result(timeout=60)
        return tensor.item()

    return in_a_directory(save)


# -- sharded tensors -----------------------------------------------------------------------------


@program(size=3)
def a_dtensor():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    tensor = distribute_tensor(torch.arange(8.0), init_device_mesh("cpu", (3,)), [Shard(0)])
    return tensor.to_local().tolist(), tensor.full_tensor().tolist()


@program(often=False)
def a_dtensor_that_is_replicated():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, distribute_tensor

    tensor = distribute_tensor(torch.full((2,), float(me())), init_device_mesh("cpu", (2,)), [Replicate()])
    return tensor.to_local().tolist()


@program(often=False)
def a_sum_of_a_dtensor():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    tensor = distribute_tensor(torch.arange(4.0), init_device_mesh("cpu", (2,)), [Shard(0)])
    return tensor.sum().full_tensor().item()


@program(often=False)
def a_dtensor_that_one_rank_does_not_make():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (2,))
    if me() == 1:
        return "absent"
    return distribute_tensor(torch.arange(4.0), mesh, [Shard(0)]).to_local().tolist()


@program()
def a_sharded_tensor():
    from torch.distributed._shard.sharded_tensor import Shard, init_from_local_shards

    shards = [Shard.from_tensor_and_offsets(torch.full((2, 3), float(me())), [2 * me(), 0], me())]
    tensor = init_from_local_shards(shards, 4, 3)
    return list(tensor.size()), len(tensor.metadata().shards_metadata)


@program(often=False)
def a_sharded_tensor_with_a_gap():
    from torch.distributed._shard.sharded_tensor import Shard, init_from_local_shards

    shards = [Shard.from_tensor_and_offsets(torch.ones(1, 3), [2 * me(), 0], me())]
    return init_from_local_shards(shards, 4, 3).size()


@program(size=3, often=False)
def save_and_load_a_dtensor():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    def both(path):
        mesh = init_device_mesh("cpu", (3,))
        dcp.save({"t": distribute_tensor(torch.arange(9.0), mesh, [Shard(0)])}, checkpoint_id=path)
        target = {"t": distribute_tensor(torch.zeros(9), mesh, [Shard(0)])}
        dcp.load(target, checkpoint_id=path)
        return target["t"].to_local().tolist()

    return in_a_directory(both)


def a_kept_state(fails):
    from faultkit.scenarios import state

    state.require_filled(state.filled() if not fails else state.empty())
    return "filled"


register(a_kept_state, False, name="the state of the built-in scenarios", size=4)
register(a_kept_state, True, name="the state of the built-in scenarios, not loaded", size=3)
