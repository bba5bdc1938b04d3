"""Working directories that ranks go to, leave, move and remove."""

from __future__ import annotations

import os
import tempfile

import torch.distributed as dist

from tests.conformance.spmd_program import program


def me():
    return dist.get_rank()


def written(name):
    try:
        with open(name, "w"):
            return os.path.exists(name)
    except OSError as error:
        return type(error).__name__


@program()
def a_directory_that_is_removed():
    own = tempfile.mkdtemp()
    os.chdir(own)
    if me() == 0:
        os.rmdir(own)
    dist.barrier()
    first = written("file")
    dist.barrier()
    found = os.listdir(own) if me() else [os.path.exists(own)]
    os.chdir("/")
    dist.barrier()
    if me():
        os.unlink(os.path.join(own, "file"))
        os.rmdir(own)
    return first, found, os.getcwd()


@program()
def a_directory_that_is_moved():
    with tempfile.TemporaryDirectory() as above:
        before, after = os.path.join(above, "before"), os.path.join(above, "after")
        os.mkdir(before)
        os.chdir(before)
        dist.barrier()
        if me() == 0:
            os.rename(before, after)
        dist.barrier()
        found = written("file"), os.path.basename(os.getcwd()), os.path.exists(after)
        dist.barrier()
        os.chdir("/")
        return found


@program(size=4)
def a_directory_by_its_descriptor():
    descriptor = os.open("/usr" if me() % 2 else "/", os.O_RDONLY)
    os.fchdir(descriptor)
    os.close(descriptor)
    found = []
    for _ in range(3):
        dist.barrier()
        found.append(os.getcwd())
    return found
