"""What a module has taken by name from the standard library, numpy and torch before the ranks start.

This module is loaded in the server that ranks are forked from, as pytest's test modules are.
"""

from __future__ import annotations

import datetime
import os
import signal as signals
import threading
from os import _exit, abort, chdir, getcwd, kill, urandom
from random import random, seed
from signal import getsignal, raise_signal, signal
from threading import active_count, current_thread, main_thread
from time import monotonic, sleep

import torch.distributed as dist
from numpy.random import rand
from numpy.random import seed as seed_numpy
from torch.distributed import PrefixStore, TCPStore

from tests.conformance.spmd_program import program


def me():
    return dist.get_rank()


@program()
def random_numbers():
    seed(me())
    dist.barrier()
    return random()


@program()
def random_numbers_of_numpy():
    seed_numpy(me())
    dist.barrier()
    return float(rand())


@program()
def a_working_directory():
    chdir("/usr" if me() else "/")
    dist.barrier()
    return getcwd()


@program()
def a_handler_of_a_signal():
    got = []
    signal(signals.SIGUSR1, lambda number, _: got.append(number + me()))
    dist.barrier()
    raise_signal(signals.SIGUSR1)
    kill(os.getpid(), signals.SIGUSR1)
    return [number - int(signals.SIGUSR1) for number in got], callable(getsignal(signals.SIGUSR1))


@program()
def the_main_thread():
    return current_thread() is main_thread(), main_thread() is threading.main_thread(), active_count()


@program()
def an_exit():
    if me() == 1:
        _exit(7)
    return "here"


@program()
def an_abort():
    if me() == 1:
        abort()
    return "here"


@program()
def a_store():
    timeout = datetime.timedelta(seconds=10)
    ports = [None]
    if me() == 0:
        store = TCPStore("127.0.0.1", 0, 2, True, timeout, wait_for_workers=False)
        ports = [store.port]
    dist.broadcast_object_list(ports)
    if me() == 1:
        store = TCPStore("127.0.0.1", ports[0], 2, False, timeout)
    own = PrefixStore(f"of rank {me()}", store)
    own.set("key", str(me()))
    dist.barrier()
    found = own.get("key"), store.get("of rank 1/key")
    dist.barrier()  # rank 0's goes with its store
    return found


@program()
def time_that_passes():
    began = monotonic()
    sleep(0.05)
    return 0.05 <= monotonic() - began < 5, len(urandom(3))
