"""Processes that ranks start: forked, by `subprocess`, by multiprocessing, by a data loader."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import torch.distributed as dist

from tests.conformance.spmd_program import program

OF_RANK = ("sh", "sh", "-c", 'test "$MINE$RANK" = "$0$0"')


def me():
    return dist.get_rank()


def exit_code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@program()
def a_fork():
    pid = os.fork()
    if pid == 0:
        os._exit(5 + me())
    return exit_code_of(pid)


@program()
def a_fork_that_starts_threads():
    lock, found = threading.Lock(), []
    pid = os.fork()
    if pid == 0:

        def holds():
            with lock:
                time.sleep(0.01)
                found.append(1)

        threads = [threading.Thread(target=holds) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(len(found))
    dist.barrier()
    return exit_code_of(pid)


@program()
def a_fork_that_becomes_a_program():
    os.environ["MINE"] = str(me())
    return os.spawnlp(os.P_WAIT, *OF_RANK, str(me())), os.spawnlp(os.P_WAIT, *OF_RANK, "other")


def tells(pipe):
    pipe.send((os.environ["RANK"], os.environ["MINE"], os.getcwd()))
    sys.exit(3)


@program()
def a_process_of_multiprocessing():
    os.environ["MINE"] = str(me())
    os.chdir("/usr" if me() else "/")
    dist.barrier()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=tells, args=(there,))
    process.start()
    told = here.recv()
    process.join()
    return told, process.exitcode


@program(often=False)
def a_process_that_is_joined_too_soon():
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.join(timeout=0.05)
    before = process.exitcode
    process.kill()
    process.join()
    return before, process.exitcode


@program()
def a_loader_with_a_worker():
    from torch.utils.data import DataLoader

    return [batch.tolist() for batch in DataLoader(list(range(4)), batch_size=2, num_workers=1)]


@program()
def a_pool_of_concurrent_futures():
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return list(pool.map(abs, [-1, me()]))


@program()
def a_program_that_takes_real_time():
    return subprocess.Popen(["sleep", "0.2"]).wait(timeout=20)


@program()
def a_program_that_takes_too_long():
    try:
        subprocess.run(["sleep", "60"], timeout=0.1)
    except subprocess.TimeoutExpired:
        return "expired"


@program()
def the_environment_that_programs_see():
    os.environ["MINE"] = str(me())
    dist.barrier()
    tell = "echo $MINE of $RANK"
    return (
        subprocess.run(tell, shell=True, capture_output=True, text=True).stdout,
        subprocess.run(["/bin/sh", "-c", tell], close_fds=False, stdout=subprocess.PIPE, text=True).stdout,
        subprocess.run(
            ["/bin/sh", "-c", tell], env={"MINE": "told"}, stdout=subprocess.PIPE, text=True
        ).stdout,
        os.waitstatus_to_exitcode(os.system("exit $MINE")),
    )


@program()
def the_environment_in_bytes():
    os.environb[b"MINE"] = str(me()).encode()
    dist.barrier()
    return os.environ["MINE"], os.environb[b"RANK"], os.environb.keys() == {*map(os.fsencode, os.environ)}
