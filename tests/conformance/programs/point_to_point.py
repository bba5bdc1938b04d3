"""send, recv, isend and irecv: matched, crossed, by tag, from anybody, in batches, and with nobody there."""

from __future__ import annotations

import os
import time

import torch
import torch.distributed as dist

from tests.conformance.spmd_program import UNSEEN_SECONDS, program


def me():
    return dist.get_rank()


@program()
def one_sends_one_receives():
    tensor = torch.arange(3.0) if me() == 0 else torch.zeros(3)
    if me() == 0:
        dist.send(tensor, 1)
        return "sent"
    return dist.recv(tensor, 0), tensor.tolist()


@program(often=False)
def ping_pong():
    tensor = torch.zeros(1)
    for _ in range(5):
        if me() == 0:
            dist.send(tensor + 1, 1)
            dist.recv(tensor, 1)
        else:
            dist.recv(tensor, 0)
            dist.send(tensor + 1, 0)
    return tensor.item()


@program(often=False)
def both_receive_first():
    tensor = torch.zeros(2)
    dist.recv(tensor, 1 - me())
    dist.send(tensor, 1 - me())


@program()
def both_send_first_a_little():
    tensor = torch.full((2,), float(me()))
    dist.send(tensor, 1 - me())
    dist.recv(tensor, 1 - me())
    return tensor.tolist()


@program(often=False)
def both_send_first_a_lot():
    tensor = torch.full((4 << 20,), float(me()))
    dist.send(tensor, 1 - me())
    dist.recv(tensor, 1 - me())
    return tensor[0].item()


@program(size=3, often=False)
def a_ring_of_receives():
    tensor = torch.zeros(1)
    dist.recv(tensor, (me() - 1) % 3)
    dist.send(tensor, (me() + 1) % 3)


@program(size=3, often=False)
def a_ring_that_one_rank_opens():
    tensor = torch.zeros(1)
    if me() == 0:
        dist.send(tensor + 1, 1)
        dist.recv(tensor, 2)
    else:
        dist.recv(tensor, me() - 1)
        dist.send(tensor + 1, (me() + 1) % 3)
    return tensor.item()


@program()
def nobody_receives_a_little():
    if me() == 0:
        dist.send(torch.ones(1), 1)
    return "done"


@program(often=False)
def nobody_receives_a_lot():
    if me() == 0:
        dist.send(torch.ones(4 << 20), 1)
    return "done"


@program(often=False)
def nobody_sends():
    if me() == 1:
        dist.recv(torch.zeros(1), 0)
    return "done"


@program()
def the_sender_dies():
    if me() == 0:
        os._exit(5)
    dist.recv(torch.zeros(1), 0)


@program(often=False)
def the_receiver_dies_before_a_send():
    if me() == 1:
        os._exit(5)
    dist.send(torch.ones(4 << 20), 1)


@program()
def the_sender_dies_after_it_sent():
    if me() == 0:
        dist.send(torch.ones(1), 1)
        os._exit(5)
    tensor = torch.zeros(1)
    dist.recv(tensor, 0)
    return tensor.item()


@program()
def tags_out_of_order():
    if me() == 0:
        works = [dist.isend(torch.full((1,), float(tag)), 1, tag=tag) for tag in (1, 2, 3)]
        for work in works:
            work.wait()
        return "sent"
    found = {}
    for tag in (3, 1, 2):
        tensor = torch.zeros(1)
        dist.irecv(tensor, 0, tag=tag).wait()
        found[tag] = tensor.item()
    return found


@program()
def one_tag_in_order():
    if me() == 0:
        for number in range(4):
            dist.send(torch.full((1,), float(number)), 1, tag=9)
        return "sent"
    tensors = [torch.zeros(1) for _ in range(4)]
    for tensor in tensors:
        dist.recv(tensor, 0, tag=9)
    return [tensor.item() for tensor in tensors]


@program()
def another_tag():
    if me() == 0:
        dist.send(torch.ones(1), 1, tag=1)
    else:
        dist.recv(torch.zeros(1), 0, tag=2)
    return "done"


@program()
def posted_before_they_are_needed():
    incoming, outgoing = torch.zeros(3), torch.full((3,), float(me() + 1))
    works = [dist.irecv(incoming, 1 - me()), dist.isend(outgoing, 1 - me())]
    for work in works:
        work.wait()
    return incoming.tolist()


@program()
def an_irecv_that_nobody_waits_for():
    if me() == 0:
        dist.irecv(torch.zeros(1), 1)
    return "done"


@program()
def an_irecv_that_is_asked_for():
    if me() == 0:
        work = dist.irecv(torch.zeros(1), 1)
        before = work.is_completed()
        dist.barrier()
        work.wait()
        return before, work.is_completed()
    dist.barrier()
    dist.send(torch.ones(1), 0)
    return "sent"


@program(size=3)
def from_anybody():
    if me() != 0:
        dist.send(torch.full((1,), float(me())), 0)
        return "sent"
    found = {}
    for _ in range(2):
        tensor = torch.zeros(1)
        sender = dist.recv(tensor)
        found[sender] = tensor.item()
    return sorted(found.items())


@program()
def from_anybody_who_never_sends():
    if me() == 0:
        dist.recv(torch.zeros(1))
    return "done"


@program(size=3)
def from_anybody_when_one_has_died():
    if me() == 1:
        os._exit(5)
    if me() == 2:
        dist.send(torch.ones(1), 0)
        return "sent"
    tensor = torch.zeros(1)
    return dist.recv(tensor), tensor.item()


@program()
def too_large_for_the_receiver():
    if me() == 0:
        dist.send(torch.ones(8), 1)
        return "sent"
    tensor = torch.zeros(4)
    dist.recv(tensor, 0)
    return tensor.tolist()


@program()
def too_small_for_the_receiver():
    if me() == 0:
        dist.send(torch.ones(4), 1)
        return "sent"
    tensor = torch.zeros(8)
    dist.recv(tensor, 0)
    return tensor.tolist()


@program()
def another_type_of_as_many_bytes():
    if me() == 0:
        dist.send(torch.ones(2, dtype=torch.int32), 1)
        return "sent"
    tensor = torch.zeros(2)
    dist.recv(tensor, 0)
    return tensor.view(torch.int32).tolist()


@program(often=False)
def to_itself():
    dist.send(torch.ones(1), me())


@program(deadline_seconds=UNSEEN_SECONDS, often=False)
def to_no_rank():
    dist.send(torch.ones(1), 9)


@program(often=False)
def in_a_batch():
    incoming, outgoing = torch.zeros(2), torch.full((2,), float(me()))
    works = dist.batch_isend_irecv(
        [dist.P2POp(dist.isend, outgoing, 1 - me()), dist.P2POp(dist.irecv, incoming, 1 - me())]
    )
    for work in works:
        work.wait()
    return incoming.tolist()


@program()
def objects():
    if me() == 0:
        dist.send_object_list([1, "two", {3: 4}], dst=1)
        return "sent"
    found = [None, None, None]
    return dist.recv_object_list(found, src=0), found


@program()
def between_collectives():
    tensor = torch.full((1,), float(me()))
    dist.all_reduce(tensor)
    if me() == 0:
        dist.send(tensor, 1)
    else:
        dist.recv(tensor, 0)
    dist.all_reduce(tensor)
    return tensor.item()


@program()
def a_collective_against_a_receive():
    if me() == 0:
        dist.barrier()
    else:
        dist.recv(torch.zeros(1), 0)


@program(size=3)
def a_bystander_is_not_needed():
    if me() == 2:
        return "elsewhere"
    tensor = torch.zeros(1)
    if me() == 0:
        dist.send(torch.ones(1), 1)
    else:
        dist.recv(tensor, 0)
    return tensor.item()


def until_the_peer_has_gone_on():
    time.sleep(0.3)


@program()
def an_isend_that_nobody_keeps():
    if me() == 0:
        dist.isend(torch.ones(1), 1)
        return "gone"
    until_the_peer_has_gone_on()
    into = torch.zeros(1)
    dist.recv(into, 0)
    return into.item()


@program(often=False)
def an_isend_that_nobody_keeps_and_a_peer_that_has_asked():
    if me() == 0:
        until_the_peer_has_gone_on()
        dist.isend(torch.ones(1), 1)
        return "gone"
    into = torch.zeros(1)
    dist.recv(into, 0)
    return into.item()


@program(often=False)
def a_send_after_an_isend_that_nobody_keeps():
    if me() == 0:
        dist.isend(torch.ones(1), 1)
        dist.send(torch.ones(1) * 2, 1)
        return "sent"
    until_the_peer_has_gone_on()
    into = torch.zeros(1)
    dist.recv(into, 0)
    return into.item()


@program(often=False)
def an_irecv_that_nobody_keeps():
    if me() == 1:
        until_the_peer_has_gone_on()
        dist.send(torch.ones(1), 0)
        dist.barrier()
        return "sent"
    into = torch.zeros(1)
    dist.irecv(into, 1)
    dist.barrier()
    return into.item()
