"""Subgroups: disjoint, overlapping, made in other orders, used by ranks outside of them, and device meshes."""

from __future__ import annotations

import datetime
import os

import torch
import torch.distributed as dist

from tests.conformance.spmd_program import UNSEEN_SECONDS, program


def me():
    return dist.get_rank()


def total(group, value=None):
    tensor = torch.tensor([float(me() + 1 if value is None else value)])
    dist.all_reduce(tensor, group=group)
    return tensor.item()


@program(size=4)
def two_halves():
    halves = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    return total(halves[me() // 2]), dist.get_rank(halves[me() // 2])


@program(size=3)
def overlapping():
    low, high = dist.new_group([0, 1]), dist.new_group([1, 2])
    return [total(group) for group, members in ((low, (0, 1)), (high, (1, 2))) if me() in members]


@program(size=3)
def overlapping_in_two_orders():
    """Rank 1 serves the second group first; nobody waits for more than one group, so it goes through."""
    low, high = dist.new_group([0, 1]), dist.new_group([1, 2])
    order = {0: (low,), 1: (high, low), 2: (high,)}[me()]
    return [total(group) for group in order]


@program(size=3)
def a_cycle_of_groups():
    """Each rank first enters the group that another one enters second."""
    groups = [dist.new_group([0, 1]), dist.new_group([1, 2]), dist.new_group([0, 2])]
    order = {0: (0, 2), 1: (1, 0), 2: (2, 1)}[me()]
    return [total(groups[place]) for place in order]


@program(often=False)
def two_groups_of_the_same_ranks():
    first, second = dist.new_group([0, 1]), dist.new_group([0, 1])
    return total(first, 1), total(second, 2)


@program()
def two_groups_entered_in_two_orders():
    first, second = dist.new_group([0, 1]), dist.new_group([0, 1])
    order = (first, second) if me() == 0 else (second, first)
    return [total(group) for group in order]


@program()
def two_groups_entered_in_two_orders_async():
    first, second = dist.new_group([0, 1]), dist.new_group([0, 1])
    order = (first, second) if me() == 0 else (second, first)
    tensors = [torch.ones(1) for _ in order]
    works = [
        dist.all_reduce(tensor, group=group, async_op=True)
        for tensor, group in zip(tensors, order, strict=True)
    ]
    for work in works:
        work.wait()
    return [tensor.item() for tensor in tensors]


@program(size=3)
def ranks_in_reverse():
    group = dist.new_group([2, 0])
    if me() == 1:
        return "outside"
    tensor = torch.tensor([float(me())])
    dist.broadcast(tensor, src=2, group=group)
    return tensor.item(), dist.get_rank(group), dist.get_process_group_ranks(group)


@program(size=3)
def outside_of_the_group():
    group = dist.new_group([0, 1])
    return total(group), dist.get_rank(group)


@program(size=3, often=False)
def rank_outside_of_the_group():
    group = dist.new_group([0, 1])
    return dist.get_rank(group), dist.get_world_size(group)


@program(size=3)
def a_root_outside_of_the_group():
    group = dist.new_group([0, 1])
    if me() == 2:
        return "outside"
    tensor = torch.zeros(1)
    dist.broadcast(tensor, src=2, group=group)
    return tensor.item()


@program(size=3)
def a_member_never_makes_the_group():
    if me() == 1:
        return "absent"
    group = dist.new_group([0, 2])
    return total(group)


@program(deadline_seconds=UNSEEN_SECONDS)
def made_by_one_rank_only():
    if me() == 0:
        return total(dist.new_group([0, 1]))
    return "absent"


@program(deadline_seconds=UNSEEN_SECONDS)
def made_with_other_members():
    group = dist.new_group([0, 1] if me() == 0 else [1])
    return total(group)


@program(size=3)
def local_synchronisation():
    if me() == 2:
        return "needs not know"
    group = dist.new_group([0, 1], use_local_synchronization=True)
    return total(group)


@program()
def a_group_of_one():
    groups = [dist.new_group([0]), dist.new_group([1])]
    return total(groups[me()])


@program(often=False)
def a_group_of_nobody():
    return total(dist.new_group([]))


@program(often=False)
def a_member_that_does_not_exist():
    dist.new_group([0, 5])


@program(often=False)
def a_member_twice():
    dist.new_group([0, 1, 1])


@program(size=4, often=False)
def enumerated():
    group, groups = dist.new_subgroups_by_enumeration([[0, 3], [1, 2]])
    return total(group), len(groups)


@program(size=4, often=False)
def by_size():
    group, _ = dist.new_subgroups(2)
    return total(group), dist.get_process_group_ranks(group)


@program(size=3)
def split():
    group = dist.split_group(split_ranks=[[0, 1], [2]])
    return total(group)


@program(size=3, often=False)
def objects_in_a_group():
    group = dist.new_group([1, 2])
    if me() == 0:
        return "outside"
    found = [None, None]
    dist.all_gather_object(found, f"rank {me()}", group=group)
    return found


@program(size=3, often=False)
def gathered_in_a_group():
    group = dist.new_group([1, 2])
    if me() == 0:
        return "outside"
    found = [None, None] if me() == 2 else None
    dist.gather_object(me(), found, dst=2, group=group)
    return found


@program(size=3)
def the_root_by_its_number_in_the_group():
    group = dist.new_group([1, 2])
    if me() == 0:
        return "outside"
    tensor = torch.tensor([float(me())])
    dist.broadcast(tensor, group=group, group_src=1)
    return tensor.item()


@program(size=3, often=False)
def point_to_point_in_a_group():
    group = dist.new_group([1, 2])
    tensor = torch.full((1,), float(me()))
    if me() == 1:
        dist.send(tensor, 2, group=group)
    elif me() == 2:
        dist.recv(tensor, 1, group=group)
    return tensor.item()


@program(size=3)
def one_member_of_a_group_dies():
    group = dist.new_group([0, 1])
    if me() == 1:
        os._exit(3)
    if me() == 2:
        return "outside"
    return total(group)


@program(size=3)
def one_member_of_a_group_returns():
    group = dist.new_group([0, 1])
    return "early" if me() == 1 else "outside" if me() == 2 else total(group)


@program(size=3)
def one_in_the_group_the_others_in_the_world():
    group = dist.new_group([0, 1])
    return total(group if me() == 0 else dist.group.WORLD)


@program(size=3)
def destroyed_before_the_end():
    group = dist.new_group([0, 1])
    if me() < 2:
        total(group)
        dist.destroy_process_group(group)
    return total(dist.group.WORLD)


@program()
def destroyed_and_used():
    group = dist.new_group([0, 1])
    dist.destroy_process_group(group)
    return total(group)


@program(size=3, often=False)
def barrier_of_a_group():
    group = dist.new_group([0, 2])
    if me() != 1:
        dist.barrier(group=group)
    return "through"


@program(size=4)
def a_mesh():
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("rows", "columns"))
    return (
        mesh.get_coordinate(),
        total(mesh.get_group("rows")),
        total(mesh.get_group("columns")),
        mesh["rows"].size(),
    )


@program(often=False)
def a_mesh_of_too_many():
    from torch.distributed.device_mesh import init_device_mesh

    init_device_mesh("cpu", (3,))


@program()
def a_mesh_that_one_rank_does_not_make():
    from torch.distributed.device_mesh import init_device_mesh

    if me() == 0:
        return "absent"
    return init_device_mesh("cpu", (2,)).size()


@program(often=False)
def a_mesh_with_other_names():
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("a" if me() else "b",))
    return mesh.mesh_dim_names, total(mesh.get_group())


@program(size=3)
def monitored_barrier_of_a_group():
    group = dist.new_group([0, 1])
    if me() < 2:
        dist.monitored_barrier(group, timeout=datetime.timedelta(seconds=20))
    return "through"
