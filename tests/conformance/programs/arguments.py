"""Calls whose arguments do not fit, on one rank or between ranks, and what works do not tell."""

from __future__ import annotations

import datetime

import torch
import torch.distributed as dist

from tests.conformance.spmd_program import program, register


def me():
    return dist.get_rank()


def zeros(count=1, dtype=torch.float32):
    return torch.zeros(count, dtype=dtype)


def ones(count=1, dtype=torch.float32):
    return torch.ones(count, dtype=dtype)


def sparse():
    return torch.eye(2).to_sparse()


def lists(count, tensor):
    return [tensor.clone() for _ in range(count)]


def said(call):
    """What an error says, from where it is the same each time."""
    try:
        call()
    except Exception as error:
        words = str(error).partition("Check failed: ")
        text = words[2] or words[0].partition(" This could be because")[0]
        return type(error).__name__, text.strip()
    return "done"


REFUSED = {
    "all_to_all into too few": lambda: dist.all_to_all([zeros()], lists(2, ones())),
    "all_to_all of too few": lambda: dist.all_to_all(lists(2, zeros()), [ones()]),
    "all_to_all of other sizes": lambda: dist.all_to_all(lists(2, zeros()), [ones(1), ones(2)]),
    "all_to_all into other sizes": lambda: dist.all_to_all(lists(2, zeros(1)), lists(2, ones(2))),
    "all_to_all into another shape": lambda: dist.all_to_all(
        lists(2, zeros(4).reshape(2, 2)), lists(2, ones(4))
    ),
    "all_to_all_single with too many splits": lambda: dist.all_to_all_single(
        zeros(4), ones(4), [2, 1, 1], [2, 2]
    ),
    "all_to_all_single with splits of less": lambda: dist.all_to_all_single(
        zeros(4), ones(4), [2, 1], [2, 2]
    ),
    "all_to_all_single of other bytes": lambda: dist.all_to_all_single(zeros(2), ones(4)),
    "all_to_all_single of what is not contiguous": lambda: dist.all_to_all_single(
        zeros(4).reshape(2, 2), ones(4).reshape(2, 2).t()
    ),
    "all_to_all_single of three in one split": lambda: dist.all_to_all_single(
        zeros(3), ones(3), None, [2, 1]
    ),
    "reduce_scatter of too few": lambda: dist.reduce_scatter(zeros(), [ones()]),
    "reduce_scatter of too many": lambda: dist.reduce_scatter(zeros(), lists(3, ones())),
    "reduce_scatter of other sizes": lambda: dist.reduce_scatter(zeros(2), lists(2, ones(1))),
    "reduce_scatter_tensor of too few": lambda: dist.reduce_scatter_tensor(zeros(2), ones(2)),
    "reduce_scatter_tensor of another type": lambda: dist.reduce_scatter_tensor(
        zeros(1), ones(2, torch.float64)
    ),
    "reduce_scatter_tensor of other rows": lambda: dist.reduce_scatter_tensor(
        zeros(6).reshape(2, 3), ones(8).reshape(4, 2)
    ),
    "all_gather_into_tensor of three": lambda: dist.all_gather_into_tensor(zeros(3), ones(1)),
    "all_gather_into_tensor of one": lambda: dist.all_gather_into_tensor(zeros(1), ones(1)),
    "all_gather_into_tensor of another shape": lambda: dist.all_gather_into_tensor(
        zeros(6).reshape(2, 3), ones(3)
    ),
    "all_gather into another shape": lambda: dist.all_gather(lists(2, zeros(6)), ones(6).reshape(2, 3)),
    "a maximum of sparse tensors": lambda: dist.all_reduce(sparse(), op=dist.ReduceOp.MAX),
    "a sparse broadcast": lambda: dist.broadcast(sparse(), 0),
    "a sparse reduce": lambda: dist.reduce(sparse(), 0),
    "a sparse all_gather": lambda: dist.all_gather(lists(2, sparse()), sparse()),
    "a sparse send": lambda: dist.send(sparse(), 1 - me()),
    "sparse tensors of other shapes": lambda: dist.all_reduce(torch.eye(2 + me()).to_sparse()),
    "a wait of a number": lambda: dist.all_reduce(ones(), async_op=True).wait(5),
    "a wait of None": lambda: dist.all_reduce(ones(), async_op=True).wait(None),
    "a group without patience": lambda: dist.new_group([0, 1], timeout=datetime.timedelta(seconds=-1)),
    "coalescing": lambda: coalescing(),
}
OFTEN = ("all_to_all into too few", "reduce_scatter of too few", "all_to_all_single of other bytes")


def coalescing():
    with dist.distributed_c10d._coalescing_manager(device=torch.device("cpu")):
        dist.all_reduce(ones())


def is_refused(name):
    return said(REFUSED[name])


for _name in REFUSED:
    register(is_refused, _name, name=_name, often=_name in OFTEN)


def other_type(call):
    """The type only: what the message says names a type in torch's own words, an address or a signature."""
    return said(call)[0]


TYPES_OF_REFUSALS = {
    "all_gather_into_tensor of another type": lambda: dist.all_gather_into_tensor(
        zeros(2, torch.int32), ones()
    ),
    "a tag that is too long": lambda: dist.recv(zeros(), 1 - me(), tag=2**40),
    "isend to itself": lambda: dist.isend(ones(), me()),
    "irecv from itself": lambda: dist.irecv(ones(), me()),
}


def is_refused_by_type(name):
    return other_type(TYPES_OF_REFUSALS[name])


for _name in TYPES_OF_REFUSALS:
    register(is_refused_by_type, _name, name=_name, often=False)


def of_no_type(dtype):
    def each(call):
        return said(lambda: call(ones().to(dtype)))

    return [
        each(lambda tensor: dist.all_reduce(tensor)),
        each(lambda tensor: dist.broadcast(tensor, 0)),
        each(lambda tensor: dist.all_gather(lists(2, tensor), tensor)),
        each(lambda tensor: dist.reduce(tensor, 0)),
        each(lambda tensor: dist.gather(tensor, lists(2, tensor) if me() == 0 else None)),
        each(lambda tensor: dist.scatter(tensor, lists(2, tensor) if me() == 0 else None)),
        each(lambda tensor: dist.reduce_scatter(tensor, lists(2, tensor))),
        each(lambda tensor: dist.all_to_all(lists(2, tensor), lists(2, tensor))),
        each(lambda tensor: dist.send(tensor, 1) if me() == 0 else dist.recv(tensor, 0)),
    ]


for _dtype in (torch.uint16, torch.int16, torch.float8_e4m3fn):
    _name = f"calls with {str(_dtype)[6:]}"
    register(of_no_type, _dtype, name=_name, often=_dtype == torch.uint16)


@program(size=4)
def a_peer_that_sends_more_than_is_wanted():
    splits = [1, 2, 1, 1] if me() == 0 else [1] * 4
    dist.all_to_all_single(zeros(4), ones(sum(splits)), [1] * 4, splits)
    return "came back"


@program(size=4)
def a_peer_that_sends_less_than_is_wanted():
    wanted = [3, 1, 1, 1] if me() == 1 else [1] * 4
    into = zeros(sum(wanted))
    dist.all_to_all_single(into, ones(4) * (me() + 1), wanted, [1] * 4)
    return into.tolist()


@program()
def a_part_for_itself_that_does_not_fit():
    into = zeros(4)
    dist.all_to_all_single(into, ones(4), [2, 2] if me() == 0 else [1, 3], [1, 3])


@program(often=False)
def all_to_all_single_of_three():
    into = zeros(3)
    dist.all_to_all_single(into, ones(3))
    return into.view(torch.uint8).tolist()


@program(often=False)
def all_to_all_of_rows():
    splits = [3, 1] if me() == 0 else [1, 3]
    into = zeros(8).reshape(4, 2)
    dist.all_to_all_single(into, torch.arange(8.0).reshape(4, 2) + 10 * me(), splits, splits)
    return into.tolist()


@program()
def what_works_tell():
    def all_reduce():
        return dist.all_reduce(ones(), async_op=True)

    def all_to_all():
        return dist.all_to_all_single(zeros(2), ones(2), async_op=True)

    def message():
        return dist.isend(ones(), 1) if me() == 0 else dist.irecv(zeros(), 0)

    def scattered():
        return dist.reduce_scatter(zeros(), [ones(), ones()], async_op=True)

    found = []
    for make in (all_reduce, all_to_all, message, scattered):
        work = make()
        work.wait()
        for name in ("result", "source_rank", "get_future", "exception", "is_success"):
            found.append((name, tells(work, name)))
    return found


def tells(work, name):
    try:
        value = getattr(work, "_source_rank" if name == "source_rank" else name)()
        value = value.wait() if name == "get_future" else value
    except RuntimeError as error:
        return str(error)
    return [tensor.tolist() for tensor in value] if isinstance(value, list) else value


@program(often=False, deadline_seconds=5.0)
def a_monitored_barrier_without_patience():
    try:
        dist.monitored_barrier(timeout=datetime.timedelta(seconds=-1))
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "through"
