"""Reductions by every operator and element type, and arguments that torch refuses before anything is sent."""

from __future__ import annotations

import torch
import torch.distributed as dist

from tests.conformance.spmd_program import program, register


def reduces(operator, dtype):
    tensor = torch.tensor([dist.get_rank() + 2, 7, 12]).to(dtype)
    dist.all_reduce(tensor, op=getattr(dist.ReduceOp, operator))
    return tensor.tolist()


for _operator, _dtype in (
    ("SUM", torch.int64),
    ("PRODUCT", torch.float64),
    ("MIN", torch.int32),
    ("MAX", torch.float16),
    ("AVG", torch.float32),
    ("BAND", torch.int64),
    ("BOR", torch.int64),
    ("BXOR", torch.int64),
    ("SUM", torch.bfloat16),
    ("SUM", torch.uint8),
    ("SUM", torch.bool),
    ("SUM", torch.complex64),
    ("MAX", torch.complex64),
    ("BAND", torch.float32),
):
    _name = f"all_reduce {_operator} of {str(_dtype)[6:]}"
    register(
        reduces, _operator, _dtype, name=_name, often=_dtype not in (torch.uint8, torch.int32, torch.float64)
    )


@program()
def gather_list_on_a_rank_that_is_not_the_root():
    rank = dist.get_rank()
    dist.gather(torch.ones(1), [torch.zeros(1), torch.zeros(1)], dst=1 - rank)


@program()
def gather_without_a_list_on_the_root():
    dist.gather(torch.ones(1), None, dst=0)


@program()
def scatter_with_too_short_a_list():
    dist.scatter(torch.zeros(1), [torch.ones(1)] if dist.get_rank() == 0 else None, src=0)


@program()
def a_root_that_is_no_rank():
    dist.broadcast(torch.ones(1), 7)


@program()
def all_gather_into_too_few():
    dist.all_gather([torch.zeros(1)], torch.ones(1))


@program(often=False)
def a_tensor_that_is_none():
    dist.all_reduce("four")


@program()
def a_tensor_that_is_not_contiguous():
    tensor = torch.arange(6.0).reshape(2, 3).t()
    dist.all_reduce(tensor)
    return tensor.tolist()


@program(often=False)
def an_empty_tensor():
    tensor = torch.zeros(0)
    dist.all_reduce(tensor)
    return tensor.tolist()


@program()
def a_sparse_tensor():
    tensor = torch.eye(3).to_sparse()
    dist.all_reduce(tensor)
    return tensor.to_dense().tolist()


@program(often=False)
def an_object_that_does_not_pickle():
    into = [None, None]
    dist.all_gather_object(into, lambda: None)


@program()
def an_object_on_one_rank_that_does_not_pickle():
    into = [None, None]
    dist.all_gather_object(into, (lambda: None) if dist.get_rank() == 1 else 5)
    return into


@program(size=3)
def uneven_all_to_all():
    rank = dist.get_rank()
    given = torch.arange(6.0) + 10 * rank
    into = torch.zeros(3 * (rank + 1))
    dist.all_to_all_single(into, given, [rank + 1] * 3, [1, 2, 3])
    return into.tolist()


@program(size=3)
def several_in_flight():
    tensors = [torch.full((2,), float(dist.get_rank() + place)) for place in range(4)]
    works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
    for work in reversed(works):
        work.wait()
    return [tensor.tolist() for tensor in tensors], [work.is_completed() for work in works]


@program()
def waited_for_by_its_future():
    tensor = torch.ones(2) * (dist.get_rank() + 1)
    future = dist.all_reduce(tensor, async_op=True).get_future()
    future.wait()
    return tensor.tolist(), future.done()


@program(size=3, often=False)
def coalesced():
    tensors = [torch.ones(2) * dist.get_rank(), torch.ones(3)]
    dist.all_reduce_coalesced(tensors)
    return [tensor.tolist() for tensor in tensors]


@program()
def all_reduce_of_other_counts_that_are_as_many_bytes():
    tensor = torch.ones(2, dtype=torch.float64) if dist.get_rank() else torch.ones(4, dtype=torch.float32)
    dist.all_reduce(tensor)


@program()
def all_reduce_by_two_operators():
    tensor = torch.tensor([2.0, 3.0]) + dist.get_rank()
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX if dist.get_rank() else dist.ReduceOp.SUM)
    return tensor.tolist()


@program(size=3, often=False)
def names_and_numbers():
    return (
        dist.get_rank(),
        dist.get_world_size(),
        dist.get_backend(),
        dist.is_initialized(),
        dist.get_process_group_ranks(dist.group.WORLD),
        dist.get_group_rank(dist.group.WORLD, 2),
        dist.get_global_rank(dist.group.WORLD, 1),
    )


@program(often=False)
def initialised_twice():
    dist.init_process_group("gloo")


@program()
def destroyed_and_used():
    dist.destroy_process_group()
    dist.barrier()
