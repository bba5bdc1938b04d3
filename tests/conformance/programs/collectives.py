"""Every collective as it is meant to be used, sync and async, and with one member that is out of line.

A table has one function for each collective; each is run whole, and with a rank that never comes, that raises,
that is killed, that comes late, that brings more, less or another type of data, another root or another
collective.
"""

from __future__ import annotations

import os
import signal
import time

import torch
import torch.distributed as dist

from tests.conformance.spmd_program import register


class Bring:
    """What this rank brings to the collective: how many elements of what type, and which root it names."""

    def __init__(self, count=4, dtype=torch.float32, root=0, wait=True):
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.count, self.dtype, self.root, self.wait = count, dtype, root, wait

    def mine(self, scale=1):
        return (torch.arange(self.count) + 10 * (self.rank + 1) * scale).to(self.dtype)

    def empty(self, times=1):
        return torch.zeros(self.count * times, dtype=self.dtype)

    def done(self, work):
        if not self.wait:
            assert work is not None
            work.wait()


def all_reduce(bring):
    tensor = bring.mine()
    bring.done(dist.all_reduce(tensor, async_op=not bring.wait))
    return tensor.tolist()


def broadcast(bring):
    tensor = bring.mine()
    bring.done(dist.broadcast(tensor, bring.root, async_op=not bring.wait))
    return tensor.tolist()


def reduce(bring):
    tensor = bring.mine()
    bring.done(dist.reduce(tensor, bring.root, async_op=not bring.wait))
    return tensor.tolist() if bring.rank == bring.root else "sent"


def gather(bring):
    into = [bring.empty() for _ in range(bring.size)] if bring.rank == bring.root else None
    bring.done(dist.gather(bring.mine(), into, dst=bring.root, async_op=not bring.wait))
    return into and [tensor.tolist() for tensor in into]


def scatter(bring):
    tensor = bring.empty()
    given = [bring.mine(scale) for scale in range(bring.size)] if bring.rank == bring.root else None
    bring.done(dist.scatter(tensor, given, src=bring.root, async_op=not bring.wait))
    return tensor.tolist()


def all_gather(bring):
    into = [bring.empty() for _ in range(bring.size)]
    bring.done(dist.all_gather(into, bring.mine(), async_op=not bring.wait))
    return [tensor.tolist() for tensor in into]


def all_gather_into_tensor(bring):
    into = bring.empty(bring.size)
    bring.done(dist.all_gather_into_tensor(into, bring.mine(), async_op=not bring.wait))
    return into.tolist()


def reduce_scatter(bring):
    into = bring.empty()
    given = [bring.mine(scale) for scale in range(bring.size)]
    bring.done(dist.reduce_scatter(into, given, async_op=not bring.wait))
    return into.tolist()


def reduce_scatter_tensor(bring):
    into = bring.empty()
    given = torch.cat([bring.mine(scale) for scale in range(bring.size)])
    bring.done(dist.reduce_scatter_tensor(into, given, async_op=not bring.wait))
    return into.tolist()


def all_to_all_single(bring):
    into = bring.empty(bring.size)
    given = torch.cat([bring.mine(scale) for scale in range(bring.size)])
    bring.done(dist.all_to_all_single(into, given, async_op=not bring.wait))
    return into.tolist()


def all_to_all(bring):
    into = [bring.empty() for _ in range(bring.size)]
    given = [bring.mine(scale) for scale in range(bring.size)]
    bring.done(dist.all_to_all(into, given, async_op=not bring.wait))
    return [tensor.tolist() for tensor in into]


def barrier(bring):
    bring.done(dist.barrier(async_op=not bring.wait))
    return "together"


def all_gather_object(bring):
    into = [None] * bring.size
    dist.all_gather_object(into, {"rank": bring.rank, "items": list(range(bring.count))})
    return into


def gather_object(bring):
    into = [None] * bring.size if bring.rank == bring.root else None
    dist.gather_object(("from", bring.rank, "x" * bring.count), into, dst=bring.root)
    return into


def scatter_object_list(bring):
    into = [None]
    given = [("for", place, "x" * bring.count) for place in range(bring.size)]
    dist.scatter_object_list(into, given if bring.rank == bring.root else None, src=bring.root)
    return into


def broadcast_object_list(bring):
    objects = [f"from {bring.rank}", bring.rank] if bring.rank == bring.root else [None, None]
    dist.broadcast_object_list(objects, src=bring.root)
    return objects


TENSORS = (
    all_reduce,
    broadcast,
    reduce,
    gather,
    scatter,
    all_gather,
    all_gather_into_tensor,
    reduce_scatter,
    reduce_scatter_tensor,
    all_to_all_single,
    all_to_all,
)
OBJECTS = (all_gather_object, gather_object, scatter_object_list, broadcast_object_list)
ROOTED = (broadcast, reduce, gather, scatter, gather_object, scatter_object_list, broadcast_object_list)


def runs(collective, dtype=torch.float32, root=0):
    return collective(Bring(dtype=dtype, root=root))


def runs_async(collective):
    return collective(Bring(wait=False))


def runs_twice(collective):
    return [collective(Bring(count=count)) for count in (3, 5)]


def lacks(collective, missing):
    """One rank returns without it."""
    return "absent" if dist.get_rank() == missing else collective(Bring())


def lacks_one_that_raised(collective, missing):
    if dist.get_rank() == missing:
        raise ValueError("not today")
    return collective(Bring())


def lacks_one_that_is_killed(collective, missing):
    if dist.get_rank() == missing:
        os.kill(os.getpid(), signal.SIGKILL)
    return collective(Bring())


def waits_for_one_that_is_late(collective, late):
    if dist.get_rank() == late:
        time.sleep(0.05)
    return collective(Bring())


def brings_another_count(collective, count):
    """Rank 1 brings `count` elements where the others bring 4."""
    return said(collective, Bring(count=count if dist.get_rank() == 1 else 4))


def brings_another_type(collective):
    return said(collective, Bring(dtype=torch.float64 if dist.get_rank() == 1 else torch.float32))


def said(collective, bring):
    """What it gives, where gloo fills a defined part of it; elsewhere only that it came back."""
    value = collective(bring)
    return value if collective in (broadcast, gather, scatter) else "came back"


def names_another_root(collective):
    return collective(Bring(root=int(dist.get_rank() == 1)))


def calls_another(collective, other):
    """Rank 1 calls `other` first, and both then call the one that they have not called."""
    first, second = (other, collective) if dist.get_rank() == 1 else (collective, other)
    return first(Bring()), second(Bring())


def calls_another_only(collective, other):
    return (other if dist.get_rank() == 1 else collective)(Bring())


CORE = (all_reduce, broadcast, gather, scatter, all_gather, barrier, gather_object, broadcast_object_list)

for _one in (*TENSORS, barrier, *OBJECTS):
    _often = _one in CORE
    register(runs, _one, name=f"{_one.__name__} of 2", often=not _often)
    register(runs_twice, _one, name=f"{_one.__name__} twice", often=_often)
    for _rank in (0, 1):
        register(lacks, _one, _rank, name=f"{_one.__name__} lacks rank {_rank}", often=_often)
    _killed = f"{_one.__name__} lacks rank 1, killed"
    register(lacks_one_that_is_killed, _one, 1, name=_killed, often=_one in (broadcast, scatter))
for _one in (*TENSORS, barrier):
    register(runs_async, _one, name=f"{_one.__name__}, async", often=_one in (all_reduce, gather))
for _one in ROOTED:
    register(runs, _one, torch.int64, 2, name=f"{_one.__name__} by rank 2", size=3, often=_one in CORE)
    _two_roots = f"{_one.__name__} with two roots"
    register(names_another_root, _one, name=_two_roots, often=_one in (broadcast, gather_object))
    register(lacks, _one, 1, name=f"{_one.__name__} of 3 lacks rank 1", size=3, often=_one is not reduce)
for _one in TENSORS:
    register(brings_another_count, _one, 2, name=f"{_one.__name__}, rank 1 brings less", often=_one in CORE)
    register(brings_another_count, _one, 8, name=f"{_one.__name__}, rank 1 brings more", often=_one in CORE)
for _one in (all_reduce, broadcast, gather, scatter, all_gather):
    register(brings_another_type, _one, name=f"{_one.__name__}, rank 1 brings another type")
for _one in (all_reduce, gather_object, barrier):
    register(waits_for_one_that_is_late, _one, 1, name=f"{_one.__name__} waits for a late rank", size=3)
    register(lacks_one_that_raised, _one, 1, name=f"{_one.__name__} lacks rank 1, which raised", size=3)
    register(lacks_one_that_is_killed, _one, 2, name=f"{_one.__name__} of 3 lacks rank 2, killed", size=3)
for _one, _other in (
    (all_reduce, barrier),
    (all_reduce, broadcast),
    (gather, scatter),
    (gather, broadcast),
    (all_gather_object, broadcast_object_list),
    (gather_object, scatter_object_list),
    (barrier, gather_object),
):
    _names = f"{_one.__name__} and {_other.__name__}"
    register(calls_another, _one, _other, name=f"{_names} in two orders", often=_other is not broadcast)
    register(calls_another_only, _one, _other, name=f"{_names}, one of each", often=_other is broadcast)
