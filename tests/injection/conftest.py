"""What the tests of injection share: saves and loads in this process, and forked ranks."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
import warnings

import pytest
import torch.distributed.checkpoint as dcp

from tests.helpers.engine_cases import Armed, new_state

FORK_SECONDS_MAX = 60.0


@pytest.fixture
def armed():
    return Armed()


@pytest.fixture
def save(tmp_path):
    """Saves a new state, by default to a writer of its own, without a process group."""

    def run(writer=None, state=None, **kwargs):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            warnings.filterwarnings("ignore", message="Detected an existing checkpoint")
            if writer is None and "checkpoint_id" not in kwargs:
                writer = dcp.FileSystemWriter(tmp_path / "checkpoint")
            return dcp.save(state or new_state(), storage_writer=writer, **kwargs)

    return run


@pytest.fixture
def load(tmp_path):
    """Loads into a new state and returns it."""

    def run(reader=None, state=None, **kwargs):
        state = state or new_state(0.0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            if reader is None and "checkpoint_id" not in kwargs:
                reader = dcp.FileSystemReader(tmp_path / "checkpoint")
            dcp.load(state, storage_reader=reader, **kwargs)
        return state

    return run


@pytest.fixture
def forked():
    """Runs functions in forked children; gives ((ok, value or error text), wait status) of each, in order."""
    children = []

    def start(function):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(reading)
                try:
                    answer = (True, function())
                except BaseException as error:
                    answer = (False, f"{type(error).__name__}: {error}")
                with os.fdopen(writing, "wb") as stream:
                    stream.write(pickle.dumps(answer))
            finally:
                os._exit(0)
        os.close(writing)
        children.append(pid)
        return pid, reading

    def finish(pid, reading):
        data, until = b"", time.monotonic() + FORK_SECONDS_MAX
        while select.select([reading], [], [], max(0.0, until - time.monotonic()))[0]:
            chunk = os.read(reading, 1 << 16)
            if not chunk:
                break
            data += chunk
        else:
            os.kill(pid, signal.SIGKILL)
        os.close(reading)
        children.remove(pid)
        return (pickle.loads(data) if data else None), os.waitpid(pid, 0)[1]

    def run(*functions):
        return [finish(*child) for child in [start(function) for function in functions]]

    run.start, run.finish = start, finish
    yield run
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
