"""The process in which all ranks of a simulated world live: it runs one call after the other.

Guarantees: whatever the ranks do, the parent gets one message with the outcome of every rank, or sees the process
end.  Nothing that a rank's thread does while it is abandoned (its rank has ended, hangs, or the run is over) is
ever executed.  Not covered: cleaning up after such threads; the parent replaces the host.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import traceback
from typing import Any

from faultkit.processes import module_finder
from faultkit.processes.channel import Channel, ChannelClosed
from faultkit.worlds.process_setup import RankSpec, keep_temporaries, set_environment, set_up_process

__all__ = ["main", "prepare"]


def prepare() -> None:
    """Import, in the fork server, what every host needs, and find what it replaces; nothing is changed there yet."""
    from faultkit.injection import parts
    from faultkit.worlds.simulated import runs
    from faultkit.worlds.simulated.core import group_names, rebinding
    from faultkit.worlds.simulated.process import concurrency_patches

    assert concurrency_patches and runs
    parts.load_all()  # what is loaded once the host's threads are patched would have their locks
    group_names.who_has_them()  # to look at every module costs a host, which shares their memory, a tenth of a run
    rebinding.user_modules()


def main(
    channel_fd: int, memory_fd: int, output_fd: int, stack_fd: int, store_fd: int, server_pid: int
) -> None:
    """Be the host until the parent says end or goes away.  Does not return."""
    status = 70
    try:
        set_up_process(output_fd, stack_fd, server_pid)
        os.close(memory_fd)
        os.close(store_fd)
        channel = Channel(socket.socket(fileno=channel_fd))
        spec: RankSpec = channel.receive(timeout_seconds=60.0)
        status = _serve(spec, channel)
    except (ChannelClosed, TimeoutError):
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _serve(spec: RankSpec, channel: Channel) -> int:
    from faultkit.worlds.simulated import runs
    from faultkit.worlds.simulated.process import concurrency_patches

    module_finder.install(spec.modules)
    sys.path[:] = spec.path
    set_environment(spec.environment, spec)
    keep_temporaries(spec)
    with contextlib.suppress(OSError):
        os.chdir(spec.directory)
    concurrency_patches.install()
    runs.install()
    gc.disable()  # finalizers run at fixed places, or two runs would differ
    gc.freeze()
    channel.send(("ready", None))
    while True:
        message = channel.receive(timeout_seconds=None)
        if message[0] == "end":
            return 0
        order, answered = message[1], False
        del message

        def answer(result: dict[str, Any]) -> None:
            nonlocal answered
            answered = True
            channel.send(("result", result), timeout_seconds=60.0)

        try:
            runs.carry_out(order, answer)
        except Exception:
            if answered:
                raise  # the parent will find this host gone, and start another one
            channel.send(("failed", traceback.format_exc()), timeout_seconds=60.0)
