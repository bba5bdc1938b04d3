"""Signals that a rank sends to itself, alarms that it sets, and on which thread they are answered."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time

import torch.distributed as dist

from tests.conformance.spmd_program import program


def me():
    return dist.get_rank()


def answered(number=signal.SIGALRM):
    """Where and how often the handler of `number` runs from now on."""
    found = []
    signal.signal(number, lambda got, _: found.append((got == number, threading.current_thread().name)))
    return found


def gives_up(number, _):
    raise TimeoutError(f"signal {int(number)} of rank {me()}")


@program()
def an_alarm_in_a_sleep():
    found = answered()
    signal.setitimer(signal.ITIMER_REAL, 0.02 + 0.02 * me())
    began = time.monotonic()
    time.sleep(0.2)
    return found, time.monotonic() - began >= 0.2, signal.getitimer(signal.ITIMER_REAL)


@program()
def an_alarm_that_comes_again():
    found = answered()
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    while len(found) < 3:
        time.sleep(0.01)
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    return found, 0 < left <= 0.05, interval, signal.getitimer(signal.ITIMER_REAL)


@program()
def an_alarm_that_ends_a_wait_for_a_lock():
    signal.signal(signal.SIGALRM, gives_up)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    lock = threading.Lock()
    lock.acquire()
    try:
        lock.acquire()
    except TimeoutError as error:
        lock.release()
        return str(error), lock.acquire(blocking=False)


@program()
def an_alarm_that_is_called_off():
    found = answered()
    before = signal.alarm(2)
    left = signal.alarm(0)
    time.sleep(0.01)
    return found, before, left


@program()
def an_alarm_that_nobody_answers():
    if me() == 1:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        time.sleep(20)
    return "here"


@program()
def an_alarm_that_is_ignored():
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    time.sleep(0.1)
    return "here"


@program()
def a_signal_that_another_thread_sends():
    found = answered(signal.SIGUSR1)
    thread = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
    thread.start()
    thread.join()
    time.sleep(0.01)
    return found


@program()
def a_signal_to_a_thread_and_to_a_group():
    found = answered(signal.SIGUSR2)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
    os.killpg(os.getpgrp(), signal.SIGUSR2)
    os.kill(0, signal.SIGUSR2)
    return found


@program()
def a_deadly_signal_to_the_own_thread():
    if me() == 1:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
    return "here"


@program()
def a_thread_that_interrupts_the_main_one():
    try:
        thread = threading.Thread(target=_thread.interrupt_main)
        thread.start()
        time.sleep(5)
    except KeyboardInterrupt:
        return "interrupted"
