"""Timeouts of groups, of single calls and of monitored barriers, where a rank is busy elsewhere meanwhile.

A rank that is busy in its own code keeps the run from being called hung, so that the timeout itself is seen.
"""

# ruff: noqa: RET503  (a rank that is not meant to come back has nothing to return)

from __future__ import annotations

import datetime
import os
import time

import torch
import torch.distributed as dist

from tests.conformance.spmd_program import program

SHORT_SECONDS = 0.1
BUSY_SECONDS = 0.5


def me():
    return dist.get_rank()


def seconds(number):
    return datetime.timedelta(seconds=number)


@program(group_timeout=SHORT_SECONDS)
def a_barrier_that_one_comes_late_to():
    if me() == 1:
        time.sleep(BUSY_SECONDS)
        return "late"
    dist.barrier()


@program(group_timeout=SHORT_SECONDS)
def an_all_reduce_that_one_comes_late_to():
    if me() == 1:
        time.sleep(BUSY_SECONDS)
        return "late"
    dist.all_reduce(torch.ones(1))


@program(group_timeout=SHORT_SECONDS)
def a_receive_that_is_sent_late():
    if me() == 1:
        time.sleep(BUSY_SECONDS)
        return "late"
    dist.recv(torch.zeros(1), 1)


@program(group_timeout=SHORT_SECONDS)
def both_give_up():
    """The late one finds a group that the other has given up."""
    if me() == 1:
        time.sleep(BUSY_SECONDS)
    dist.barrier()


@program(group_timeout=SHORT_SECONDS)
def in_time():
    if me() == 1:
        time.sleep(SHORT_SECONDS / 5)
    dist.barrier()
    return "through"


@program()
def a_timeout_of_the_subgroup():
    group = dist.new_group([0, 1], timeout=seconds(SHORT_SECONDS))
    if me() == 1:
        time.sleep(BUSY_SECONDS)
        return "late"
    dist.barrier(group=group)


@program()
def a_wait_with_a_timeout():
    if me() == 1:
        time.sleep(BUSY_SECONDS)
        return "late"
    dist.all_reduce(torch.ones(1), async_op=True).wait(seconds(SHORT_SECONDS))


@program(group_timeout=SHORT_SECONDS)
def work_that_is_never_waited_for():
    if me() == 1:
        time.sleep(BUSY_SECONDS)
        return "late"
    work = dist.all_reduce(torch.ones(1), async_op=True)
    time.sleep(2 * SHORT_SECONDS)
    return work.is_completed()


@program(size=3)
def monitored_and_all_there():
    dist.monitored_barrier()
    return "through"


@program(size=3)
def monitored_and_one_busy():
    if me() == 1:
        time.sleep(BUSY_SECONDS)
        return "late"
    dist.monitored_barrier(timeout=seconds(SHORT_SECONDS))


@program(size=3)
def monitored_and_all_are_named():
    if me() > 0:
        time.sleep(BUSY_SECONDS)
        return "late"
    dist.monitored_barrier(timeout=seconds(SHORT_SECONDS), wait_all_ranks=True)


@program(size=3)
def monitored_and_rank_0_busy():
    if me() == 0:
        time.sleep(BUSY_SECONDS)
        return "late"
    dist.monitored_barrier(timeout=seconds(SHORT_SECONDS))


@program(size=3)
def monitored_and_one_returned():
    if me() == 1:
        return "early"
    dist.monitored_barrier()


@program(size=3)
def monitored_and_one_died():
    if me() == 1:
        os._exit(3)
    dist.monitored_barrier()


@program(size=3)
def monitored_and_rank_0_died():
    if me() == 0:
        os._exit(3)
    dist.monitored_barrier()


@program()
def the_timeout_of_a_store_key():
    if me() == 1:
        time.sleep(BUSY_SECONDS)
        return "late"
    dist.distributed_c10d._get_default_store().wait(["nowhere"], seconds(SHORT_SECONDS))


@program()
def half_an_hour_for_a_rank_that_is_gone():
    """The group's own timeout is 30 minutes; nobody has to wait for it to know."""
    if me() == 1:
        return "early"
    dist.barrier()
