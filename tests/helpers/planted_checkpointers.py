"""A sound checkpointer of a user's own, by call and by thread, and the same with one of some forty defects each.

Every rank writes its part with a checksum; rank 0 publishes all of them by one rename of their directory.  Whatever
fails on a rank is told to all before anybody goes on.  `DEFECTS` says which promises of a report card may tell each.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import json
import os
import shutil
import threading

import torch
import torch.distributed as dist

from faultkit import Checkpointer

# of each defect: whether by thread, and the promises by which it may be told
DEFECTS = {
    # a save
    "keeps_errors": (False, {"ranks-learn", "acknowledged", "old-survives"}),
    "only_rank_0_tells": (False, {"ranks-learn", "acknowledged", "cause", "liveness"}),
    "tells_no_cause": (False, {"cause"}),
    "leaves_the_others": (False, {"liveness", "parity"}),
    "catches_exceptions_alone": (False, {"hostile", "liveness"}),
    "sends_the_exception": (False, {"hostile", "liveness"}),
    "publishes_first": (False, {"crash", "acknowledged", "old-survives", "ranks-learn"}),
    "does_not_wait": (False, {"crash", "acknowledged", "round-trip", "ranks-learn"}),
    "syncs_no_file": (False, {"crash"}),
    "syncs_no_directory": (False, {"crash"}),
    "writes_in_place": (False, {"crash", "old-survives"}),
    "removes_the_old_first": (False, {"crash", "old-survives", "retention"}),
    "forgets_a_leaf": (False, {"round-trip", "filled", "application"}),
    "rounds_to_half": (False, {"round-trip", "application"}),
    "stores_doubles": (False, {"round-trip", "application", "resharding"}),
    "stumbles_over_leftovers": (False, {"next-attempt", "old-survives"}),
    "leaves_a_descriptor": (False, {"leaks", "growth"}),
    "leaves_a_thread": (False, {"leaks", "growth"}),
    "keeps_every_state": (False, {"growth"}),
    "keeps_a_descriptor_of_each": (False, {"growth", "leaks"}),
    "writes_the_sidecar_later": (False, {"crash", "old-survives", "acknowledged"}),
    "writes_the_sidecar_in_place": (False, {"crash", "old-survives", "acknowledged"}),
    "asks_each_rank": (False, {"parity", "liveness", "round-trip"}),
    # a load
    "checks_no_sum": (False, {"damage"}),
    "forgets_to_load_a_leaf": (False, {"round-trip", "filled", "application"}),
    "leaves_a_number": (False, {"round-trip", "application"}),
    "returns_none_on_errors": (False, {"damage", "old-survives", "ranks-learn", "filled", "acknowledged"}),
    "chooses_by_rank": (False, {"fallback", "ranks-learn", "old-survives", "retention", "damage"}),
    "looks_on_rank_0": (False, {"acknowledged", "old-survives", "round-trip"}),
    "loads_the_oldest": (False, {"round-trip", "retention", "old-survives"}),
    "takes_what_is_not_whole": (False, {"crash", "old-survives", "acknowledged", "damage"}),
    "loads_by_its_own_number": (False, {"resharding", "round-trip", "old-survives"}),
    "fills_before_it_checks": (False, {"application", "damage"}),
    # a prune
    "prunes_the_newest": (False, {"retention"}),
    "prunes_one_too_many": (False, {"retention"}),
    "counts_what_is_not_whole": (False, {"retention"}),
    "prunes_by_the_index": (False, {"retention"}),
    "prunes_on_every_rank": (False, {"retention", "ranks-learn", "liveness"}),
    # by thread
    "copies_late": (True, {"snapshot"}),
    "copies_tensors_alone": (True, {"snapshot"}),
    "is_done_too_early": (True, {"settled", "snapshot", "acknowledged", "round-trip"}),
    "drops_errors_of_the_thread": (True, {"settled", "acknowledged", "ranks-learn"}),
    "never_completes_after_an_error": (True, {"settled", "liveness"}),
}

_kept = []
_in_flight = set()  # what a save or a prune of this process is about, and no other removes
_beginning = threading.Lock()


class Failed(RuntimeError):
    """What failed, on every rank."""


def make_state(step, rank, world_size):
    return {
        "weight": torch.arange(12.0).reshape(3, 4) / 7 + step,
        "half": torch.arange(4.0).to(torch.bfloat16) + step,
        "count": torch.tensor(1000 + step),
        "lr": 0.5 / (1 + step),
        "nested": {"name": f"step {step}", "list": [step, step + 1]},
    }


# -- a save ------------------------------------------------------------------------------------------------


def save(state, directory, step, defect="none", group=None):
    if defect == "keeps_every_state":
        _kept.append([torch.zeros(4096), state])
    if defect == "keeps_a_descriptor_of_each":
        _kept.append(os.open(directory, os.O_RDONLY))
    name, saving = _named(directory, step, defect, group)
    try:
        _save(state, directory, name, saving, defect, group)
    finally:
        _in_flight.discard(str(directory / saving))


def _save(state, directory, name, saving, defect, group):
    rank = dist.get_rank(group)
    if defect == "asks_each_rank" and rank == 0:
        dist.barrier(group=group)
    if defect == "publishes_first":
        _together(lambda: _publish(directory, name, saving, None) if rank == 0 else None, defect, group)
        saving = name
    mine = []
    _together(lambda: mine.append(_write(directory / saving, rank, state, defect)), defect, group)
    sums = [None] * dist.get_world_size(group)
    if defect != "does_not_wait":
        dist.all_gather_object(sums, mine[0] if mine else None, group=group)
    if defect != "publishes_first":
        _together(
            lambda: _publish(directory, name, saving, sums, defect) if rank == 0 else None, defect, group
        )


def _named(directory, step, defect, group):
    """The name of this save, and that under which it is written; what was left of others is gone."""
    told = [None]

    def begin():
        if dist.get_rank(group) != 0:
            return
        names = os.listdir(directory)
        number = 1 + max((_number(name) for name in names), default=0)
        if defect == "writes_in_place":
            number = 1
        told[0] = f"step-{step}.{number}"
        saving = "saving" if defect == "stumbles_over_leftovers" else f"{told[0]}.saving"
        if defect == "writes_in_place":
            saving = told[0]
        if defect == "removes_the_old_first":
            for old in names:
                shutil.rmtree(directory / old, ignore_errors=True)
        if defect != "stumbles_over_leftovers":
            for left in (one for one in names if one.endswith(".saving")):
                if str(directory / left) not in _in_flight:
                    _remove(directory / left)
        os.makedirs(directory / saving, exist_ok=defect == "writes_in_place")
        _in_flight.add(str(directory / saving))
        told.append(saving)

    def begin_alone():
        with _beginning:
            begin()

    _together(begin_alone, defect, group)
    dist.broadcast_object_list(sent := [told], 0, group=group)
    name, saving = sent[0]
    return name, saving


def _write(place, rank, state, defect):
    kept = dict(state)
    if defect == "forgets_a_leaf":
        del kept["half"]
    if defect == "rounds_to_half":
        kept["weight"] = kept["weight"].half().float()
    if defect == "stores_doubles":
        kept["weight"] = kept["weight"].double()
    if defect in ("writes_the_sidecar_later", "writes_the_sidecar_in_place"):
        kept.pop("lr")
    if defect == "does_not_wait" and rank:
        threading.Event().wait(0.05)
    stream = io.BytesIO()
    torch.save(kept, stream)
    data = stream.getvalue()
    path = place / f"{rank}.pt"
    mode = "wb" if defect == "writes_in_place" else "xb"
    try:
        stream = open(path, mode)  # noqa: SIM115
        try:
            stream.write(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
            stream.flush()
            if defect != "syncs_no_file":
                os.fsync(stream.fileno())
        finally:
            if defect != "leaves_a_descriptor":
                stream.close()
            else:
                _kept.append(stream)
    except OSError:
        if defect != "keeps_errors":
            raise
    if defect == "writes_the_sidecar_in_place" and rank == 0:
        (place.parent / "lr.json").write_text(json.dumps(state["lr"]))
    if defect == "leaves_a_thread":
        threading.Thread(target=threading.Event().wait, args=(20,), daemon=True).start()
    if defect != "syncs_no_directory":
        _sync(place)
    return hashlib.sha256(data).hexdigest()


def _publish(directory, name, saving, sums, defect="none"):
    index = json.dumps({"ranks": dist.get_world_size(), "sums": sums})
    if saving != name or defect == "writes_in_place":
        with open(directory / saving / "index.json", "w") as stream:
            stream.write(index)
            stream.flush()
            os.fsync(stream.fileno())
        if defect != "syncs_no_directory":
            _sync(directory / saving)
    if saving != name:
        os.rename(directory / saving, directory / name)
    if defect != "syncs_no_directory":
        _sync(directory)
    if defect == "writes_the_sidecar_later":
        (directory / "lr.json").write_text(json.dumps(0.5 / (1 + _step(name))))


def _remove(place):
    """`shutil.rmtree` closes a directory twice where closing it fails, and tells the second error."""
    for name in os.listdir(place):
        os.unlink(place / name)
    os.rmdir(place)


def _sync(directory):
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _together(work, defect="none", group=None):
    """Do `work` on every rank; where it failed on any, every rank raises."""
    failed = None
    caught = Exception if defect == "catches_exceptions_alone" else BaseException
    try:
        work()
    except caught as error:
        failed = error
        if defect == "leaves_the_others":
            raise
    if defect == "does_not_wait":
        if failed is not None:
            raise failed
        return
    if defect == "only_rank_0_tells":
        sent = [None if failed is None else _named_error(failed)]
        dist.broadcast_object_list(sent, 0, group=group)
        if sent[0] is not None:
            raise Failed(f"it failed on rank 0: {sent[0]}") from failed
        return
    errors = [None] * dist.get_world_size(group)
    mine = None if failed is None else (failed if defect == "sends_the_exception" else _named_error(failed))
    dist.all_gather_object(errors, mine, group=group)
    told = {rank: error for rank, error in enumerate(errors) if error is not None}
    if told:
        if defect == "tells_no_cause":
            raise Failed(f"it failed on ranks {', '.join(map(str, told))}")
        raise Failed(
            "; ".join(f"it failed on rank {rank}: {error}" for rank, error in told.items())
        ) from failed


def _named_error(error):
    try:
        text = str(error)
    except BaseException:
        text = "(cannot be printed)"
    number = f" [Errno {error.errno}]" if isinstance(error, OSError) and error.errno else ""
    return f"{type(error).__name__}{number}: {text}"


# -- what there is -----------------------------------------------------------------------------------------


def _number(name):
    return int(name.removesuffix(".saving").rpartition(".")[2]) if name.startswith("step-") else 0


def _step(name):
    return int(name.removeprefix("step-").partition(".")[0])


def _is_whole(directory, name):
    return "index.json" in os.listdir(directory / name)  # `Path.exists` takes some errors for a no


def _saves(directory, defect="none"):
    """The names of the saves that can be loaded, newest last."""
    names = [name for name in os.listdir(directory) if name.startswith("step-")]
    if defect not in ("takes_what_is_not_whole", "counts_what_is_not_whole"):
        names = [name for name in names if not name.endswith(".saving")]
        if defect != "publishes_first":
            names = [name for name in names if _is_whole(directory, name)]
    return sorted(names, key=_number)


def steps(directory):
    return sorted({_step(name) for name in _saves(directory)})


# -- a load ------------------------------------------------------------------------------------------------


def load(state, directory, defect="none"):
    rank = dist.get_rank()
    seen = []

    def look():
        if rank == 0 or defect != "looks_on_rank_0":
            seen.extend(_saves(directory, defect))
        if defect == "chooses_by_rank":
            seen[:] = [name for name in seen if _can_read(directory / name, rank)]

    _together(look)
    if defect != "chooses_by_rank":  # a listing that lags on some of them leaves nothing out
        each = [None] * dist.get_world_size()
        dist.all_gather_object(each, seen)
        seen = sorted({name for names in each for name in names}, key=_number)
    if not seen:
        return None
    name = seen[0 if defect == "loads_the_oldest" else -1]
    loaded = {}

    def read():
        loaded.update(_read(directory / name, rank, defect))
        if defect == "fills_before_it_checks":
            _fill(state, loaded, defect)

    if defect == "returns_none_on_errors":
        try:
            read()
        except Exception:
            return None
    elif defect == "chooses_by_rank":
        read()
    else:
        _together(read)
    if defect in ("writes_the_sidecar_later", "writes_the_sidecar_in_place"):
        loaded["lr"] = json.loads((directory / "lr.json").read_text())
    _fill(state, loaded, defect)
    return _step(name)


def _read(place, rank, defect="none"):
    files = sorted(path for path in place.iterdir() if path.suffix == ".pt")
    if not files:
        raise Failed(f"{place.name} holds no part")
    ranks, sums = len(files), None
    if _is_whole(place.parent, place.name):
        index = json.loads((place / "index.json").read_text())
        ranks, sums = index["ranks"], index["sums"]
    number = rank if defect == "loads_by_its_own_number" else rank % ranks
    told, _, data = (place / f"{number}.pt").read_bytes().partition(b"\n")
    found = hashlib.sha256(data).hexdigest()
    is_right = found.encode() == told and (not sums or sums[number] in (None, found))
    if defect != "checks_no_sum" and not is_right:
        raise Failed(f"{place.name}/{number}.pt is not as it was written")
    return torch.load(io.BytesIO(data), weights_only=True)


def _is_sound(place):
    """Whether each part is as its sum says; raises what the disk does."""
    try:
        index = json.loads((place / "index.json").read_text())
        for number, wanted in enumerate(index["sums"]):
            told, _, data = (place / f"{number}.pt").read_bytes().partition(b"\n")
            if hashlib.sha256(data).hexdigest() != wanted or told != wanted.encode():
                return False
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return False
    return True


def _can_read(place, rank):
    try:
        _read(place, rank)
    except Exception:
        return False
    return True


def _fill(state, loaded, defect):
    if defect == "forgets_to_load_a_leaf":
        loaded.pop("half", None)
    if defect == "leaves_a_number":
        loaded.pop("lr", None)
    for key, value in loaded.items():
        if isinstance(value, torch.Tensor) and value.dtype == state[key].dtype:
            state[key].copy_(value)
        else:
            state[key] = value


# -- a prune -----------------------------------------------------------------------------------------------


def prune(directory, keep, defect="none"):
    def remove():
        if dist.get_rank() != 0 and defect != "prunes_on_every_rank":
            return
        found = _saves(directory, defect)
        if defect == "prunes_the_newest":
            gone = found[keep:]
        elif defect == "prunes_one_too_many":
            gone = found[: max(len(found) - keep + 1, 0)] if len(found) > keep else []
        elif defect in ("counts_what_is_not_whole", "prunes_by_the_index"):
            gone = found[:-keep]
        else:
            sound = [name for name in found if _is_sound(directory / name)][-keep:]
            gone = found[: found.index(sound[0])] if sound else []
        for name in gone:
            if defect == "prunes_on_every_rank":
                shutil.rmtree(directory / name)
            else:
                aside = directory / f"{name}.saving"
                _in_flight.add(str(aside))
                try:
                    os.rename(directory / name, aside)
                    _remove(aside)
                finally:
                    _in_flight.discard(str(aside))

    _together(remove)


# -- by thread ---------------------------------------------------------------------------------------------


def _copied(value):
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return list(value) if isinstance(value, list) else value


class Handle:
    """What a save by thread gives."""

    def __init__(self, future, pool, group):
        self.future, self.pool, self.group = future, pool, group

    def result(self, timeout=None):
        try:
            return self.future.result(timeout)
        finally:
            self.pool.shutdown()
            dist.destroy_process_group(self.group)


def save_by_thread(state, directory, step, defect="none"):
    group = dist.new_group(backend="gloo")
    if defect == "copies_late":
        copied = state
    elif defect == "copies_tensors_alone":
        copied = {
            key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in state.items()
        }
    else:
        copied = _copied(state)
    pool = concurrent.futures.ThreadPoolExecutor(1)

    def work():
        try:
            save(copied, directory, step, group=group)
        except BaseException:
            if defect == "never_completes_after_an_error":
                threading.Event().wait()
            if defect != "drops_errors_of_the_thread":
                raise

    future = pool.submit(work)
    if defect == "is_done_too_early":
        early = concurrent.futures.Future()
        early.set_result(None)
        _kept.append((future, pool))
        return _Early(early)
    return Handle(future, pool, group)


class _Early:
    def __init__(self, future):
        self.future = future

    def result(self, timeout=None):
        return self.future.result(timeout)


PLANTED = Checkpointer(
    name="planted",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    state=make_state,
    points=("fs.*",),
    load_points=("fs.*",),
    options=(("defect", "none"),),
    atomic_load=True,
)
BY_THREAD = Checkpointer(
    name="by-thread",
    save=save_by_thread,
    load=load,
    steps=steps,
    prune=prune,
    state=make_state,
    points=("fs.*",),
    load_points=("fs.*",),
    options=(("defect", "none"),),
    atomic_load=True,
    is_async=True,
)
