"""Engines with a known defect: the stock one, patched on the rank for the time of one save or load.

Each defect is a context manager of `DEFECTS`; what it breaks is told in its docstring.  They stand for the
mistakes that real engines make, and none of them shows while nothing fails.
"""

from __future__ import annotations

import contextlib
import pickle
from unittest import mock

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import api, utils

from faultkit.injection import FaultyStorageReader, FaultyStorageWriter

__all__ = ["DEFECTS", "load", "reload", "save", "save_state", "save_twice"]

CheckpointException = api.CheckpointException
DEFECTS = {}


def defect(function):
    DEFECTS[function.__name__] = contextlib.contextmanager(function)
    return function


def save(defect_name=None):
    with DEFECTS[defect_name]():
        dcp.save({"weight": torch.ones(4)}, storage_writer=FaultyStorageWriter(""))


def load(defect_name=None):
    with DEFECTS[defect_name]():
        dcp.load({"weight": torch.ones(4)}, storage_reader=FaultyStorageReader(""))


def save_twice(defect_name=None):
    with DEFECTS[defect_name]():
        for _ in range(2):
            with contextlib.suppress(CheckpointException):
                dcp.save({"weight": torch.ones(4)}, storage_writer=FaultyStorageWriter(""))


def save_state(pair, folder):
    dcp.save(pair.state.build(), checkpoint_id=folder)


def reload(pair, folder, defect_name):
    state = pair.state.blank()
    with DEFECTS[defect_name]():
        dcp.load(state, checkpoint_id=folder)
    return pair.state.differences(state)


# -- who is named ------------------------------------------------------------------------------------


def _failures_seen_through(change):
    original = utils._get_failure_dict
    return mock.patch.object(utils, "_get_failure_dict", lambda results: change(original(results)))


@defect
def none():
    """The stock engine."""
    yield


DEFECTS[None] = DEFECTS["none"]


@defect
def loses_the_highest_of_several_ranks():
    """Of several failed ranks the highest is not named."""

    def change(failures):
        return {r: e for r, e in failures.items() if len(failures) == 1 or r != max(failures)}

    with _failures_seen_through(change):
        yield


@defect
def names_the_next_rank():
    """Every failure is put down to the rank after the one that failed."""
    with _failures_seen_through(lambda failures: {(r + 1) % 3: e for r, e in failures.items()}):
        yield


@defect
def names_the_coordinator_for_the_last():
    """What happens on the last rank is put down to the coordinator."""
    with _failures_seen_through(lambda failures: {(0 if r == 2 else r): e for r, e in failures.items()}):
        yield


@defect
def keeps_one_of_two_different_errors():
    """Where two ranks fail with different errors, only the first one is kept."""

    def change(failures):
        texts = {str(error) for error, _ in failures.values()}
        return dict([min(failures.items())]) if len(texts) > 1 else failures

    with _failures_seen_through(change):
        yield


@defect
def forgets_two_ranks_that_fail_without_the_coordinator():
    """If ranks 1 and 2 fail and the coordinator does not, only rank 1 is named."""
    with _failures_seen_through(lambda failures: {1: failures[1]} if set(failures) == {1, 2} else failures):
        yield


@defect
def tells_another_step():
    """Rank 1 is told that another rank failed than the others are told."""
    original = utils._DistWrapper.broadcast_object

    def broadcast_object(self, value):
        result = original(self, value)
        if isinstance(result, CheckpointException) and self.rank == 1:
            [first, *_] = result._failures.values()
            return CheckpointException(result.args[0], {2: first})
        return result

    with mock.patch.object(utils._DistWrapper, "broadcast_object", broadcast_object):
        yield


# -- who learns --------------------------------------------------------------------------------------


def _broadcast_to(deaf):
    original = utils._DistWrapper.broadcast_object

    def broadcast_object(self, value):
        result = original(self, value)
        return None if isinstance(result, CheckpointException) and deaf(self, result) else result

    return mock.patch.object(utils._DistWrapper, "broadcast_object", broadcast_object)


@defect
def tells_only_the_coordinator():
    """The last step of a save tells nobody but the coordinator."""
    with _broadcast_to(lambda wrapper, error: not wrapper.is_coordinator):
        yield


@defect
def last_rank_never_learns():
    """The last rank takes a save for a success that failed on another rank."""
    with _broadcast_to(lambda wrapper, error: wrapper.rank == 2 and 2 not in error._failures):
        yield


@defect
def load_forgets_readers_but_the_first():
    """A load does not look at the failures of ranks other than the coordinator."""
    original = utils._DistWrapper.all_gather_object

    def all_gather_object(self, value):
        return [r if place == 0 else None for place, r in enumerate(original(self, value))]

    with mock.patch.object(utils._DistWrapper, "all_gather_object", all_gather_object):
        yield


# -- what is swallowed -------------------------------------------------------------------------------


def _writing_through(guard):
    original = utils._DistWrapper.all_reduce

    def all_reduce(self, step, map_fun, reduce_fun):
        return original(self, step, lambda: guard(self, map_fun), reduce_fun)

    return mock.patch.object(utils._DistWrapper, "all_reduce", all_reduce)


def _swallowing(swallowed):
    def guard(wrapper, write):
        try:
            return write()
        except BaseException as error:
            if swallowed(error):
                return []
            raise

    return _writing_through(guard)


@defect
def swallows_os_errors():
    """An OSError while writing is taken for a success."""
    with _swallowing(lambda error: isinstance(error, OSError)):
        yield


@defect
def swallows_a_full_disk():
    """A write that finds the disk full is taken for a success."""
    with _swallowing(lambda error: getattr(error, "errno", None) == 28):
        yield


@defect
def swallows_what_stops_an_iteration():
    """The writer iterates with `next` and takes StopIteration for the end."""
    with _swallowing(lambda error: isinstance(error, StopIteration)):
        yield


@defect
def never_looks_into_the_future():
    """The write's future is waited for, but its error is dropped."""

    def of_the_future(error):
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_name in ("wait", "value"):
                return True
            trace = trace.tb_next
        return False

    with _swallowing(of_the_future):
        yield


@defect
def never_writes_on_rank_1():
    """Rank 1 does not write at all."""
    with _writing_through(lambda wrapper, write: [] if wrapper.rank == 1 else write()):
        yield


# -- what is told ------------------------------------------------------------------------------------


def _wrapping_through(change):
    original = utils._wrap_exception
    return mock.patch.object(utils, "_wrap_exception", lambda error: original(change(error)))


@defect
def renames_every_error():
    """Every error is told as a RuntimeError of its own words."""
    with _wrapping_through(lambda error: RuntimeError("the checkpoint failed")):
        yield


@defect
def renames_lookup_errors():
    """A LookupError is told as a RuntimeError."""
    with _wrapping_through(lambda e: RuntimeError("missing") if isinstance(e, LookupError) else e):
        yield


@defect
def renames_what_does_not_pickle():
    """An error that cannot be pickled is told as a RuntimeError."""

    def change(error):
        try:
            pickle.dumps(error)
        except Exception:
            return RuntimeError("unknown error")
        return error

    with _wrapping_through(change):
        yield


@defect
def takes_groups_apart():
    """Of an exception group only the first member is told."""
    with _wrapping_through(lambda e: e.exceptions[0] if isinstance(e, BaseExceptionGroup) else e):
        yield


@defect
def renames_what_is_no_exception():
    """A BaseException that is no Exception is told as a RuntimeError."""
    with _wrapping_through(lambda e: e if isinstance(e, Exception) else RuntimeError("interrupted")):
        yield


@defect
def drops_error_numbers():
    """An OSError is told without its number."""
    with _wrapping_through(lambda e: OSError(str(e).split("] ")[-1]) if getattr(e, "errno", None) else e):
        yield


@defect
def prints_before_it_tells():
    """What cannot be printed is told as a RuntimeError."""

    def change(error):
        try:
            str(error)
        except Exception:
            return RuntimeError("unprintable")
        return error

    with _wrapping_through(change):
        yield


# -- who comes back ----------------------------------------------------------------------------------


@defect
def hangs_when_two_fail_at_once():
    """The coordinator gathers once more if two ranks have failed, and nobody answers."""

    def change(failures):
        if len(failures) > 1:
            dist.gather_object(None, [None] * dist.get_world_size())
        return failures

    with _failures_seen_through(change):
        yield


@defect
def dies_of_a_memory_error():
    """A rank that is out of memory ends its process."""
    import os

    def change(error):
        if isinstance(error, MemoryError):
            os._exit(3)
        return error

    with _wrapping_through(change):
        yield


@defect
def tells_at_the_timeout():
    """What went wrong on rank 1 is told, but only when the process group gave up waiting for it."""

    def change(failures):
        if 1 not in failures:
            return failures
        error, summary = failures[1]
        late = BaseExceptionGroup("Timed out waiting 1800000ms for recv operation to complete", [error])
        return {**failures, 1: (late, summary)}

    with _failures_seen_through(change):
        yield


@defect
def cannot_save_after_a_failed_write():
    """A save whose write failed leaves the engine in a state in which the next one is refused."""
    original = utils._DistWrapper.all_reduce
    locked = []

    def all_reduce(self, *arguments):
        if locked:
            raise RuntimeError("another save is still running")
        try:
            return original(self, *arguments)
        except CheckpointException:
            locked.append(True)
            raise

    with mock.patch.object(utils._DistWrapper, "all_reduce", all_reduce):
        yield


# -- what is loaded ----------------------------------------------------------------------------------


def _committing_through(damage):
    original = dcp.DefaultLoadPlanner.commit_tensor

    def commit_tensor(self, read_item, tensor):
        damage(tensor)
        return original(self, read_item, tensor)

    return mock.patch.object(dcp.DefaultLoadPlanner, "commit_tensor", commit_tensor)


@defect
def rounds_half_precision():
    """What is loaded as bfloat16 is rounded to zero."""
    with _committing_through(lambda tensor: tensor.zero_() if tensor.dtype is torch.bfloat16 else None):
        yield


@defect
def loads_nothing_into_more_ranks():
    """In a world of two ranks, tensors stay as they were."""
    with _committing_through(lambda tensor: tensor.zero_() if dist.get_world_size() == 2 else None):
        yield


@defect
def takes_views_for_wholes():
    """A tensor that is not contiguous is not loaded."""
    with _committing_through(lambda tensor: None if tensor.is_contiguous() else tensor.zero_()):
        yield
