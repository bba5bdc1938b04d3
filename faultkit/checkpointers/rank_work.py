"""What every rank does with a checkpointer: the words of `faultkit.checkpointers.checkpointer.WORK`, and their results.

    save        step 2 into an empty directory
    load        step 2 that was saved before: loaded, and compared with what it must hold
    overwrite   step 2 once more, with other values
    resume      step 1 that was saved before is loaded and compared, then step 2 is saved
    prune       of steps 1 and 2 the newest is kept
    async       step 1 is saved without waiting, the state changes at once, and then it must be there as it was

Guarantees: what a rank gives to a save is told before the save begins, by its checksums, where somebody will compare it
with what is stored; a load that comes back without an error and with something else raises WrongContent.
Not covered: what a load left out of it, which every load on a rank is watched for.  Imports torch where it is called.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.exceptions import WrongContent
from faultkit.messages import seen
from faultkit.plan.signatures import taken
from faultkit.runs.readback import STEP_NAME

__all__ = [
    "NEW_STEP",
    "OLD_STEP",
    "STEP_NAME",
    "AlsoRead",
    "Expected",
    "Prepared",
    "Read",
    "Work",
    "in_flight",
]

BLANK_STEP, OLD_STEP, NEW_STEP = 0, 1, 2  # of states: that which is loaded into, the older, the newer
WAIT_SECONDS_MAX = 600.0  # for a handle; the run has a deadline of its own
HELD_SECONDS = 0.1
KEPT = 1
LEAVES_NAMED = 5


class Work(msgspec.Struct, frozen=True):
    """One word's work, as a function of the directory."""

    checkpointer: Checkpointer
    word: str

    def __call__(self, directory: Path, **options: Any) -> None:
        _DO[self.word](self.checkpointer, Path(directory))


class Prepared(msgspec.Struct, frozen=True):
    """What is done before: saves of the state of a step (the first of each pair) under the step that is the second."""

    checkpointer: Checkpointer
    saves: tuple[tuple[int, int], ...]

    def __call__(self, directory: Path, **options: Any) -> None:
        for values, step in self.saves:
            finish(save(self.checkpointer, state_of(self.checkpointer, values), Path(directory), step))


class Read(msgspec.Struct, frozen=True):
    """The newest checkpoint as a mapping, and its step; None where there is none.

    In one process it is what the checkpointer's `read` gives, or else what its `load` gives on a world of one rank.
    """

    checkpointer: Checkpointer

    def __call__(self, directory: Path, fill: float | None = None) -> dict[str, Any] | None:
        checkpointer = self.checkpointer
        if checkpointer.read is not None:
            found = call(checkpointer, checkpointer.read, Path(directory))
            return None if found is None else plain(found)
        with process_group():
            state = state_of(checkpointer, BLANK_STEP)
            if fill is not None:
                fill_with(state, fill)
            step = call(checkpointer, checkpointer.load, state, Path(directory))
            return None if step is None else {**local(plain(state)), STEP_NAME: step}


class AlsoRead(msgspec.Struct, frozen=True):
    """The newest checkpoint by one of the checkpointer's other readers, which gives what that gives."""

    checkpointer: Checkpointer
    name: str

    def __call__(self, directory: Path) -> Any:
        return call(self.checkpointer, dict(self.checkpointer.readers)[self.name], Path(directory))


class Expected(msgspec.Struct, frozen=True):
    """What `Read` must give: the values of one step, and the step under which they were saved."""

    checkpointer: Checkpointer
    values: int
    step: int

    def __call__(self, **options: Any) -> dict[str, Any]:
        with process_group():
            state = local(plain(state_of(self.checkpointer, self.values)))
        return state if self.checkpointer.read is not None else {**state, STEP_NAME: self.step}


# -- the words ---------------------------------------------------------------------------------------------


def _save(checkpointer: Checkpointer, directory: Path) -> None:
    finish(save(checkpointer, state_of(checkpointer, NEW_STEP), directory, NEW_STEP))


def _load(checkpointer: Checkpointer, directory: Path) -> None:
    require_loaded(checkpointer, directory, NEW_STEP)


def _resume(checkpointer: Checkpointer, directory: Path) -> None:
    # an attempt before this one may have failed after its save was there: then the job goes on from that
    if require_loaded(checkpointer, directory, OLD_STEP, NEW_STEP) == OLD_STEP:
        _save(checkpointer, directory)


def _prune(checkpointer: Checkpointer, directory: Path) -> None:
    assert checkpointer.prune is not None
    tell_state(checkpointer, state_of(checkpointer, NEW_STEP), directory, NEW_STEP)
    call(checkpointer, checkpointer.prune, directory, KEPT)


def _async(checkpointer: Checkpointer, directory: Path) -> None:
    handles = []
    for step in range(OLD_STEP, OLD_STEP + in_flight(checkpointer)):
        state = state_of(checkpointer, step)
        with _held_threads() as save_returned:
            handles.append(save(checkpointer, state, directory, step))
            save_returned()
            overwrite(state, state_of(checkpointer, BLANK_STEP))  # the training goes on
        tell_state(checkpointer, state, directory, step, kind="later")
    errors = []
    for handle in handles:
        try:
            finish(handle)
        except BaseException as error:  # what the engine raises is one
            errors.append(error)
    if errors:
        raise errors[0]


@contextlib.contextmanager
def _held_threads() -> Iterator[Callable[[], None]]:
    """Threads that a save starts begin at the end, so that none has saved all before the state changes.

    One that the save itself waits for begins after `HELD_SECONDS`.  Simulated ranks, which are threads, have schedules.
    """
    is_process = threading.get_native_id() == os.getpid()
    if not is_process or threading.getprofile() is not None:
        yield lambda: None
        return
    returned, over = threading.Event(), threading.Event()

    def hold(*_: Any) -> None:
        sys.setprofile(None)
        if returned.wait(HELD_SECONDS):
            over.wait(WAIT_SECONDS_MAX)

    def save_returned() -> None:
        threading.setprofile(None)
        returned.set()

    threading.setprofile(hold)
    try:
        yield save_returned
    finally:
        save_returned()
        over.set()


_DO: dict[str, Callable[[Checkpointer, Path], None]] = {
    "save": _save,
    "load": _load,
    "overwrite": _save,
    "resume": _resume,
    "prune": _prune,
    "async": _async,
}


# -- one call ----------------------------------------------------------------------------------------------


def call(checkpointer: Checkpointer, function: Callable[..., Any], *args: Any) -> Any:
    """`function` of the checkpointer, with those of its options that it takes."""
    return function(*args, **taken(function, checkpointer.keywords, len(args)))


def in_flight(checkpointer: Checkpointer) -> int:
    """How many saves are on their way at once in ``NAME.async``: steps from `OLD_STEP` on."""
    return int(checkpointer.keywords.get("in_flight", 1))


def save(checkpointer: Checkpointer, state: Any, directory: Path, step: int) -> Any:
    """Begin to save `state`: what the checkpointer gives, which `finish` waits for."""
    tell_state(checkpointer, state, directory, step)
    session = _watching_session()
    if session is None:
        return call(checkpointer, checkpointer.save, state, directory, step)
    before = session.attempt_count
    handle = call(checkpointer, checkpointer.save, state, directory, step)
    if not hasattr(handle, "result"):
        return handle
    handles = session.handles = session.handles + 1
    session.record("handle", handle=handles, attempts=list(range(before + 1, session.attempt_count + 1)))
    return _Numbered(handle, handles)


class _Numbered:
    """A handle, of which it is recorded what it says."""

    def __init__(self, handle: Any, number: int) -> None:
        self.handle, self.number = handle, number

    def result(self, timeout: float | None = None) -> Any:
        from faultkit.injection.engine.promises import record_settled

        error: BaseException | None = None
        try:
            return self.handle.result(timeout=timeout)
        except BaseException as raised:
            error = raised
            raise
        finally:
            session = _watching_session()
            if session is not None:
                record_settled(session, error, handle=self.number)


def _watching_session() -> Any:
    """The session of this rank, where somebody asks what becomes of handles."""
    from faultkit.injection import current

    session = current()
    return session if session is not None and "settled" in session.watches and not session.closed else None


def finish(handle: Any) -> None:
    """Wait for what a save returned, where it is a handle.  Raises what it raises."""
    if hasattr(handle, "result"):
        handle.result(timeout=WAIT_SECONDS_MAX)


def state_of(checkpointer: Checkpointer, step: int) -> Any:
    """The state of `step` on this rank."""
    import torch.distributed as dist

    from faultkit.checkpointers.states import make_state

    ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    return call(checkpointer, checkpointer.state or make_state, step, *ranks)


def require_loaded(checkpointer: Checkpointer, directory: Path, *steps: int) -> int:
    """Load, and raise WrongContent where that gives none of `steps`, or another state than that of the step."""
    from faultkit.state_values import differences

    state = state_of(checkpointer, BLANK_STEP)
    found = require_step(checkpointer, state, directory, *steps)
    wrong = differences(plain(state), plain(state_of(checkpointer, found)))
    if wrong:
        more = f" and {len(wrong) - LEAVES_NAMED} more" if len(wrong) > LEAVES_NAMED else ""
        raise WrongContent(
            f"the load came back without an error, but these are not what was saved: "
            f"{', '.join(wrong[:LEAVES_NAMED])}{more}"
        )
    return found


def require_step(checkpointer: Checkpointer, state: Any, directory: Path, *steps: int) -> int:
    """Load into `state`, and raise WrongContent where that gives none of `steps`, of which the first was saved."""
    from faultkit.injection.engine import overwritten

    with overwritten.watching(state, promised=checkpointer.atomic_load):
        found = call(checkpointer, checkpointer.load, state, directory)
    if found is None:
        raise WrongContent(f"the load came back with nothing, although step {steps[0]} was saved")
    if found not in steps:
        raise WrongContent(
            f"the load came back with step {seen(found)}, although step {steps[0]} is the newest"
        )
    return int(found)


def tell_state(
    checkpointer: Checkpointer, state: Any, directory: Path, step: int, kind: str = "given"
) -> None:
    """Record what this rank gives to a save, where somebody wants to compare it with what is then stored; or, as
    ``later``, what it has made of that once the save has returned."""
    from faultkit.injection import current
    from faultkit.injection.engine import content

    session = current()
    if session is not None and session.is_content_wanted and not session.closed:
        told = plain(state) if checkpointer.read is not None else {**plain(state), STEP_NAME: step}
        if checkpointer.read is None and not checkpointer.reshards:
            told = local(told)  # each rank is asked for what it had
        if kind == "later":
            if "snapshot" not in session.watches:
                return
            told.pop(STEP_NAME, None)
        session.record(kind, path=str(directory), leaves=content.fingerprint(told))


# -- values ------------------------------------------------------------------------------------------------


def plain(state: Any) -> Any:
    """`state` with what an object hands over in its place, as nested dicts, lists and tuples."""
    import torch

    if isinstance(state, torch.Tensor) or hasattr(state, "local_shards"):
        return state
    if hasattr(state, "state_dict") and hasattr(state, "load_state_dict"):
        return plain(state.state_dict())
    if hasattr(state, "items"):
        return {key: plain(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)) and type(state) in (list, tuple):
        return type(state)(plain(value) for value in state)
    return state


def local(state: Any) -> Any:
    """What this process has of every distributed tensor in `state`, which `plain` gave; all of it where it is alone."""
    from faultkit.state_values import tensor_of

    if isinstance(state, dict):
        return {key: local(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(local(value) for value in state)
    if hasattr(state, "to_local") or hasattr(state, "local_shards"):
        return tensor_of(state)
    return state


def fill_with(state: Any, number: float) -> None:
    """Set every element of every tensor of `state` to `number`, in place, where its type has such."""
    import torch

    from faultkit.state_values import leaves_of, parts_of

    with torch.no_grad():
        for _, leaf in leaves_of(plain(state)):
            if isinstance(leaf, torch.Tensor) or hasattr(leaf, "local_shards"):
                for part in parts_of(leaf):
                    part.fill_(number != 0 if part.dtype == torch.bool else number)


def overwrite(state: Any, other: Any) -> None:
    """Give `state` the values that it has in `other`: tensors, dicts, lists and objects in place, and what cannot be
    changed by putting the other in its place."""
    import torch

    with torch.no_grad():
        for key in list(state):
            state[key] = overwritten(state[key], other[key])


def overwritten(value: Any, other: Any) -> Any:
    """What stands in the place of `value` once it has the values of `other`: itself, where it can be changed."""
    import torch

    from faultkit.state_values import parts_of

    if isinstance(value, torch.Tensor) or hasattr(value, "local_shards"):
        for part, new in zip(parts_of(value), parts_of(other), strict=True):
            part.copy_(new)
    elif isinstance(value, dict):
        overwrite(value, other)
    elif hasattr(value, "load_state_dict") and hasattr(value, "state_dict"):
        overwrite(value.state_dict(), other.state_dict())  # what it holds, as an optimizer steps
        value.load_state_dict(other.state_dict())
    elif type(value) is list:
        value[:] = [overwritten(one, new) for one, new in zip(value, other, strict=True)]
    elif type(value) is tuple:
        return tuple(overwritten(one, new) for one, new in zip(value, other, strict=True))
    elif type(value).__module__ != "builtins" and hasattr(value, "__dict__"):
        vars(value).update(vars(other))
    else:
        return other
    return value


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """A process group of this process alone, where it is in none."""
    import torch.distributed as dist

    if dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()
