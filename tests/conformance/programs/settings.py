"""What a process sets for itself, on ranks of which each sets something else."""

from __future__ import annotations

import locale
import os
import socket
import sys
import tempfile
import threading
import warnings

import torch
import torch.distributed as dist

from tests.conformance.spmd_program import program


def me():
    return dist.get_rank()


@program()
def the_mask_of_new_files():
    before = os.umask(0o077 if me() else 0o022)
    dist.barrier()
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "file")
        with open(path, "w"):
            mode = os.stat(path).st_mode & 0o777
    return before == os.umask(before), oct(mode)


@program(size=3)
def numbers_of_the_interpreter():
    if me():
        sys.setrecursionlimit(3000 + me())
        socket.setdefaulttimeout(me())
    dist.barrier()
    first = sys.getrecursionlimit() - 3000 * bool(me()), socket.getdefaulttimeout()
    dist.barrier()
    if me() == 1:
        socket.setdefaulttimeout(None)
    dist.barrier()
    return first, socket.getdefaulttimeout()


@program()
def the_next_run_has_the_numbers_of_before():
    return (
        sys.getrecursionlimit(),
        socket.getdefaulttimeout(),
        threading.excepthook.__name__,
        len(sys.argv) < 9,
    )


@program()
def the_locale():
    locale.setlocale(locale.LC_ALL, "C.UTF-8" if me() else "C")
    dist.barrier()
    return locale.setlocale(locale.LC_ALL), locale.setlocale(locale.LC_CTYPE)


@program()
def how_tensors_are_printed():
    torch.set_printoptions(precision=2 + me())
    dist.barrier()
    return repr(torch.tensor([1 / 3]))


@program()
def arguments_of_the_command():
    sys.argv[1:] = [str(me())] * 9
    dist.barrier()
    return sys.argv[1:]


@program()
def hooks_for_exceptions_and_warnings():
    found = []
    threading.excepthook = lambda arguments: found.append(str(arguments.exc_value))
    warnings.formatwarning = lambda *_: f"formatted by rank {me()}"
    dist.barrier()
    thread = threading.Thread(target=lambda: {}[me()])
    thread.start()
    thread.join()
    return found, warnings.formatwarning("", UserWarning, "", 1)


@program()
def a_warning_at_one_place_is_shown_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            dist.barrier()
            warnings.warn("at one place", stacklevel=1)
    with warnings.catch_warnings(record=True) as again:
        warnings.simplefilter("default")
        warnings.warn("at another", stacklevel=1)
    return len(caught), len(again)
