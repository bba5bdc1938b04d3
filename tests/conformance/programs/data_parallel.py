"""`DistributedDataParallel` over the group: gradients bit for bit, buckets, hooks, and a rank that is gone."""

from __future__ import annotations

import os
import signal

import torch
import torch.distributed as dist
from torch.nn import BatchNorm1d, Linear, Module, Sequential
from torch.nn.parallel import DistributedDataParallel

from tests.conformance.spmd_program import program


def parallel(module, **options):
    torch.manual_seed(dist.get_rank())  # the parameters are those of rank 0
    return DistributedDataParallel(module, **options)


def gradients(model):
    return [None if p.grad is None else p.grad.tolist() for p in model.parameters()]


@program()
def a_few_steps():
    model = parallel(Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        model(torch.ones(3, 2) * (1 + dist.get_rank() + step)).sum().backward()
        optimizer.step()
    return gradients(model), [parameter.tolist() for parameter in model.parameters()]


@program(size=3)
def many_buckets():
    torch.manual_seed(0)
    module = Sequential(*[Linear(16, 16) for _ in range(6)])
    model = parallel(module, bucket_cap_mb=0.002)
    for _ in range(3):
        model(torch.randn(3, 16) + dist.get_rank()).sum().backward()
    return gradients(model)


class Either(Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Linear(2, 2), Linear(2, 2)

    def forward(self, given):
        return (self.second if dist.get_rank() else self.first)(given)


@program(often=False)
def parameters_that_one_rank_does_not_use():
    model = parallel(Either(), find_unused_parameters=True)
    for _ in range(2):
        model(torch.ones(1, 2)).sum().backward()
    return gradients(model)


@program(often=False)
def a_hook_of_its_own():
    model = parallel(Linear(2, 2))

    def ten_times(_, bucket):
        work = dist.all_reduce(bucket.buffer(), async_op=True)
        return work.get_future().then(lambda future: future.value()[0] * 10)

    model.register_comm_hook(None, ten_times)
    model(torch.ones(3, 2)).sum().backward()
    return gradients(model)


@program(often=False)
def a_pass_without_synchronisation():
    model = parallel(Linear(2, 2))
    with model.no_sync():
        model(torch.ones(3, 2) * dist.get_rank()).sum().backward()
    alone = gradients(model)
    model(torch.ones(3, 2)).sum().backward()
    return alone, gradients(model)


@program(often=False)
def buffers_are_those_of_rank_0():
    torch.manual_seed(0)
    model = parallel(Sequential(Linear(2, 2), BatchNorm1d(2)))
    for _ in range(2):
        model(torch.randn(3, 2) + dist.get_rank()).sum().backward()
    return [buffer.tolist() for buffer in model.buffers()]


@program(often=False)
def another_shape_on_one_rank():
    parallel(Linear(2, 2 + dist.get_rank()))


@program()
def a_rank_that_does_not_come_to_the_backward_pass():
    model = parallel(Linear(2, 2))
    if dist.get_rank() == 1:
        return "absent"
    model(torch.ones(3, 2)).sum().backward()
    return "came back"


@program()
def a_rank_that_is_killed_before_the_backward_pass():
    model = parallel(Linear(2, 2))
    if dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    model(torch.ones(3, 2)).sum().backward()
