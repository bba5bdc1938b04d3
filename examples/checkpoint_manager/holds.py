"""What rots is noticed, and the newest good checkpoint is loaded; every rank learns of whatever fails on rank 0."""

import hashlib
import io
import os

import torch
import torch.distributed as dist

from faultkit import Checkpointer


def on_rank_0(function):
    """Calls `function` on rank 0 alone; every rank gets what it gives, or an error if it raised."""
    told = [None, None]
    failed = None
    if dist.get_rank() == 0:
        try:
            told[0] = function()
        except BaseException as error:  # also a KeyboardInterrupt: the others must not wait
            failed = error
            told[1] = described(error)
    dist.broadcast_object_list(told)
    if told[1] is not None:
        raise RuntimeError(f"rank 0 failed: {told[1]}") from failed
    return told[0]


def described(error):
    """As text, since not every exception can travel, or be printed."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def write_whole(path, content):
    """The old file or the new one, whatever happens: written beside it, synced, renamed, and the folder synced."""
    beside = path.with_name(path.name + ".tmp")
    with open(beside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_whole(path):
    """What `write_whole` was given, or an error if that is not what there is."""
    content = path.read_bytes()
    digest, content = content[:32], content[32:]
    if digest != digest_of(path, content):
        raise ValueError(f"{path.name} is damaged")
    return content


def digest_of(path, content):
    return hashlib.sha256(path.name.encode() + content).digest()


def steps(directory):
    return sorted(int(path.stem.removeprefix("step-")) for path in directory.glob("step-*.pt"))


def save(state, directory, step):
    def write():
        content = io.BytesIO()
        torch.save({"step": step, "state": state}, content)
        path = directory / f"step-{step}.pt"
        write_whole(path, digest_of(path, content.getvalue()) + content.getvalue())

    on_rank_0(write)


def load(state, directory):
    def read():
        damaged = None
        for step in reversed(steps(directory)):
            try:
                return torch.load(io.BytesIO(read_whole(directory / f"step-{step}.pt")))
            except ValueError as error:
                damaged = damaged or error
        if damaged is not None:
            raise damaged
        return None

    loaded = on_rank_0(read)
    if loaded is None:
        return None
    for name, value in loaded["state"].items():
        state[name].copy_(value)
    return loaded["step"]


def prune(directory, keep):
    def remove():
        good = 0
        for step in reversed(steps(directory)):
            path = directory / f"step-{step}.pt"
            if good == keep:
                path.unlink()
            else:
                good += is_good(path)

    on_rank_0(remove)


def is_good(path):
    try:
        read_whole(path)
    except ValueError:
        return False
    return True


def make_state(step, rank, world_size):
    return {"weight": torch.full((64, 3), float(step)), "bias": torch.full((3,), -float(step))}


MANAGER = Checkpointer(name="holds", save=save, load=load, steps=steps, prune=prune, state=make_state)
