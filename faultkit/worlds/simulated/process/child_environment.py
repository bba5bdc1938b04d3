"""What a process inherits from the simulated rank that starts it: its environment, and where it prints.

A process of its own would hand both down by itself; the host has one of each.  A program that is told no environment
gets the rank's, and one whose output goes where the rank's does prints to a file of the rank (`output.file_of`).  The
directory is that of the rank since it is the host's while the rank runs.

Not covered: standard input, which is empty for all.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable
from typing import Any

from faultkit.worlds.simulated.core.ranks import current_rank
from faultkit.worlds.simulated.core.rebinding import replace
from faultkit.worlds.simulated.core.scheduler import current_task
from faultkit.worlds.simulated.process import output

__all__ = ["install"]

# places in the arguments of `_posixsubprocess.fork_exec`
ENVIRONMENT, OUTPUT, ERROR = 5, 9, 11


def install() -> None:
    """Once, in the host."""
    import _posixsubprocess

    replace(_posixsubprocess, "fork_exec", _executing)
    if hasattr(subprocess, "_fork_exec"):
        subprocess._fork_exec = _posixsubprocess.fork_exec
    replace(os, "fork", _forking)
    for name in ("posix_spawn", "posix_spawnp"):
        replace(os, name, _spawning)
    replace(os, "system", _in_shell)


def _executing(original: Callable[..., int]) -> Callable[..., int]:
    def fork_exec(*args: Any) -> int:
        rank = current_rank()
        if rank is None:
            return original(*args)
        told = list(args)
        if told[ENVIRONMENT] is None:
            told[ENVIRONMENT] = [key + b"=" + value for key, value in rank.environment.items()]
        for place, own in ((OUTPUT, 1), (ERROR, 2)):
            leads_to = own if told[place] == -1 else told[place]
            if output.is_of_host(leads_to) and (file := output.file_of(rank)) is not None:
                told[place] = file
        return original(*told)

    return fork_exec


def _forking(original: Callable[[], int]) -> Callable[[], int]:
    def fork() -> int:
        task = current_task()
        file = output.file_of(task.rank) if task is not None else None
        pid = original()
        if pid == 0 and file is not None:
            for descriptor in (1, 2):
                if output.is_of_host(descriptor):
                    os.dup2(file, descriptor)
        return pid

    return fork


def _spawning(original: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(original)
    def spawn(path: Any, argv: Any, env: Any = None, /, *, file_actions: Any = None, **options: Any) -> int:
        rank = current_rank()
        actions = list(file_actions or ())
        if rank is not None:
            env = rank.environment if env is None else env
            actions[:0] = [
                (os.POSIX_SPAWN_DUP2, file, descriptor)
                for descriptor in (1, 2)
                if output.is_of_host(descriptor) and (file := output.file_of(rank)) is not None
            ]
        return original(path, argv, env, file_actions=actions, **options)

    return spawn


def _in_shell(original: Callable[[Any], int]) -> Callable[[Any], int]:
    def system(command: Any) -> int:
        if current_rank() is None:
            return original(command)
        code = subprocess.call(command, shell=True)
        return -code if code < 0 else code << 8

    return system
