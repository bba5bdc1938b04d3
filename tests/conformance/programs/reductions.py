"""What reductions come to, bit for bit: the order of gloo's rings, averages, NaN, and what other members keep."""

from __future__ import annotations

import hashlib

import torch
import torch.distributed as dist

from tests.conformance.spmd_program import program, register


def mine(count, dtype=torch.float32):
    """Numbers of this rank whose sum depends on the order."""
    generator = torch.Generator().manual_seed(dist.get_rank() + 1)
    return (torch.randn(count, generator=generator) * 10).to(dtype)


def bits(tensor):
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def refused(work):
    try:
        work()
    except RuntimeError as error:
        return str(error)
    return "done"


def all_reduce(count, dtype, operator):
    tensor = mine(count, dtype)
    dist.all_reduce(tensor, op=getattr(dist.ReduceOp, operator))
    return bits(tensor)


def reduce(count, root, operator, dtype=torch.float32):
    tensor = mine(count, dtype)
    dist.reduce(tensor, root, op=getattr(dist.ReduceOp, operator))
    return bits(tensor)


def reduce_scatter(count, operator, dtype=torch.float32):
    into = torch.zeros(count, dtype=dtype)
    given = list(mine(count * dist.get_world_size(), dtype).chunk(dist.get_world_size()))
    dist.reduce_scatter(into, given, op=getattr(dist.ReduceOp, operator))
    return bits(into)


def reduce_scatter_tensor(count, operator):
    into = torch.zeros(count)
    given = mine(count * dist.get_world_size())
    dist.reduce_scatter_tensor(into, given, op=getattr(dist.ReduceOp, operator))
    return bits(into)


for _count, _dtype, _operator, _size, _often in (
    (5, torch.float32, "SUM", 4, False),
    (1000, torch.float32, "SUM", 4, True),
    (1003, torch.float16, "SUM", 3, False),
    (1003, torch.bfloat16, "SUM", 3, False),
    (77, torch.float32, "PRODUCT", 4, False),
    (777, torch.float32, "AVG", 3, True),
    (777, torch.bfloat16, "AVG", 3, False),
    (777, torch.float64, "SUM", 4, False),
    (9, torch.complex64, "SUM", 4, False),
    (3_000_001, torch.float32, "SUM", 3, False),
):
    _name = f"all_reduce {_operator} of {_count} {str(_dtype)[6:]}, in bits"
    register(all_reduce, _count, _dtype, _operator, name=_name, size=_size, often=_often)
for _count, _root, _operator, _size, _often in (
    (1, 0, "SUM", 4, False),
    (7, 1, "AVG", 3, True),
    (1000, 0, "SUM", 4, True),
    (1000, 2, "MAX", 3, False),
    (7_000_003, 1, "SUM", 3, False),
):
    _name = f"reduce {_operator} of {_count} to rank {_root}, in bits on every rank"
    register(reduce, _count, _root, _operator, name=_name, size=_size, often=_often)
register(
    reduce,
    9,
    1,
    "SUM",
    torch.complex64,
    name="reduce SUM of complex64, in bits on every rank",
    size=3,
    often=False,
)
for _one in (reduce_scatter, reduce_scatter_tensor):
    register(_one, 333, "SUM", name=f"{_one.__name__} SUM of 333, in bits", size=4, often=True)
    register(_one, 333, "AVG", name=f"{_one.__name__} AVG of 333, in bits", size=3, often=False)
register(
    reduce_scatter,
    3,
    "SUM",
    torch.complex64,
    name="reduce_scatter SUM of complex64, in bits",
    size=3,
    often=False,
)


@program(size=3)
def the_order_of_additions_shows():
    tensor = torch.tensor([[1e8, 1.0, 1.0], [1.0, 1e8, -1e8], [-1e8, -1e8, 1e8]][dist.get_rank()])
    dist.all_reduce(tensor)
    return tensor.tolist()


@program(size=3, often=False)
def uneven_parts_of_a_reduce_scatter():
    into = torch.zeros(1 + 2 * dist.get_rank())
    dist.reduce_scatter(into, [mine(1), mine(3), mine(5)])
    return into.tolist()


@program(size=3, often=False)
def coalesced_tensors_go_through_one_ring():
    tensors = [mine(count) for count in (5, 7, 300)]
    dist.all_reduce_coalesced(tensors)
    return [bits(tensor) for tensor in tensors]


def of_nan(operator):
    nan = float("nan")
    rows = [[nan, 1.0, 2.0, 0.0, -0.0], [1.0, nan, 2.0, -0.0, 0.0], [0.0, 3.0, nan, 0.0, 0.0]]
    tensor = torch.tensor(rows[dist.get_rank()] * 3)
    dist.all_reduce(tensor, op=getattr(dist.ReduceOp, operator))
    return tensor.tolist()


register(of_nan, "MAX", name="all_reduce MAX of NaN and zeros", size=3)
register(of_nan, "MIN", name="all_reduce MIN of NaN and zeros", size=3, often=False)


def an_average(dtype):
    tensor = torch.tensor([3, 4, 7]).to(dtype) + torch.tensor(dist.get_rank()).to(dtype)
    said = refused(lambda: dist.all_reduce(tensor, op=dist.ReduceOp.AVG))
    return said, tensor.tolist()


for _dtype in (torch.int64, torch.uint8, torch.bool, torch.float16):
    register(an_average, _dtype, name=f"an average of {str(_dtype)[6:]}", often=_dtype == torch.int64)


@program(size=3, often=False)
def an_average_of_integers_at_the_root():
    tensor = torch.tensor([3 + dist.get_rank()])
    said = refused(lambda: dist.reduce(tensor, 1, op=dist.ReduceOp.AVG))
    return said, tensor.tolist()


@program(often=False)
def an_average_of_integers_scattered():
    into = torch.zeros(1, dtype=torch.int64)
    given = torch.full((2,), 3 + dist.get_rank())
    said = refused(lambda: dist.reduce_scatter_tensor(into, given, op=dist.ReduceOp.AVG))
    return said, into.tolist()


@program()
def a_part_is_taken_when_it_is_waited_for():
    into = torch.zeros(1)
    work = dist.reduce_scatter_tensor(into, torch.ones(2), async_op=True)
    dist.barrier()
    before = into.tolist(), work.is_completed()
    return before, work.wait(), into.tolist(), work.is_completed()
