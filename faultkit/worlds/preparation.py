"""What the fork server imports and fills before it forks the first rank, so that ranks have it already.

Guarantees: it leaves no thread running and no file behind, also where the caller ends meanwhile.  Not covered: modules
of the user's (`World(preload=...)`), and what simulated ranks need besides (`faultkit.worlds.simulated.host`).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import secrets
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator

__all__ = ["prepare", "warm_up_engine"]


def warm_up_engine(place: str | None = None) -> None:
    """What the first save and load of a process import, and fill with what all of them use: here, not on every rank.

    In a forked process each page that is written to for the first time is copied; a third of those of a save are
    written to by its first run alone.  It takes a directory in `place`, by default the system's for temporary files,
    which goes with the client of a server; whoever else calls it gives one that goes with itself.
    """
    import torch
    import torch.distributed.checkpoint as dcp

    for name in (
        "numpy.random",
        "torch.distributed.checkpoint._fsspec_filesystem",
        "torch.utils.serialization.config",
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    state = {"tensor": torch.ones(2), "object": [1]}
    with contextlib.suppress(Exception, dcp.CheckpointException), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _own_directory(place or tempfile.gettempdir()) as directory:
            dcp.save(state, checkpoint_id=directory, no_dist=True)
            dcp.load(state, checkpoint_id=directory, no_dist=True)


@contextlib.contextmanager
def _own_directory(place: str) -> Iterator[str]:
    """A directory in `place`, which goes also should the client end meanwhile."""
    directory = os.path.join(place, f"faultkit-{secrets.token_hex(8)}")

    def end(*_: object) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        os._exit(0)

    signal.signal(signal.SIGIO, end)
    try:
        os.mkdir(directory, 0o700)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        signal.signal(signal.SIGIO, signal.SIG_DFL)


def prepare() -> None:
    """For the fork server: torch, its checkpoint package, and faultkit's hooks, which every rank inherits."""
    gc.disable()  # nothing of what is imported becomes garbage, and looking for it takes a tenth of the time
    import torch
    import torch.distributed.checkpoint

    from faultkit.hooks import collectives
    from faultkit.injection import arming
    from faultkit.injection.engine import hooks
    from faultkit.worlds import engine_state, rank

    assert torch and rank and arming
    warm_up_engine()
    engine_state.put_back()  # what is there now is what a fresh process has
    collectives.install(hooks.attempt_of_thread)
    hooks.keep_hooks()
    gc.enable()
