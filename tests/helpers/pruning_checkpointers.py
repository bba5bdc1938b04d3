"""An asynchronous checkpointer whose prune keeps what a job can come back to, and the same with one defect each.

``step-7/`` is made when the save is called; ``data.json`` in it is written when somebody waits for the save, and
``done`` last of all.
"""

from __future__ import annotations

import json
import os
import shutil

import torch.distributed as dist

from faultkit import Checkpointer

# what is wrong, the rules of a history that shows it, and the smallest one
DEFECTS = {
    "counts_what_is_in_flight": ("save", "save_and_prune", "restart"),
    "counts_what_failed": ("save", "fail", "restart", "prune"),
    "moves_what_it_keeps": ("save", "restart", "fail_prune"),
}


def make_state(step, rank, world_size):
    return {"step": step, "numbers": [step * 100, step * 10]}


def place_of(directory, step):
    return directory / f"step-{step}"


class Handle:
    def __init__(self, state, place):
        self.state, self.place = state, place

    def result(self, timeout=None):
        error = None
        if dist.get_rank() == 0:
            try:
                with open(self.place / "data.json", "w") as stream:
                    stream.write(json.dumps(self.state))
                (self.place / "done").touch()
            except OSError as raised:
                error = raised
        raise_together(error)


def raise_together(error):
    told = [str(error or "")]
    dist.broadcast_object_list(told)
    if told[0]:
        raise OSError(told[0])


def save(state, directory, step):
    if dist.get_rank() == 0:
        shutil.rmtree(place_of(directory, step), ignore_errors=True)
        place_of(directory, step).mkdir()
    return Handle(dict(state), place_of(directory, step))


def begun(directory):
    return sorted(int(path.name[5:]) for path in directory.glob("step-*"))


def steps(directory):
    return [step for step in begun(directory) if (place_of(directory, step) / "done").exists()]


def load(state, directory):
    told = [steps(directory)]
    dist.broadcast_object_list(told)
    if not told[0]:
        return None
    step = told[0][-1]
    state.update(json.loads((place_of(directory, step) / "data.json").read_text()))
    dist.barrier()
    return step


def prune(directory, keep, defect="none"):
    error = None
    if dist.get_rank() == 0:
        try:
            remove_old(directory, keep, defect)
        except OSError as raised:
            error = raised
    raise_together(error)


def remove_old(directory, keep, defect):
    if defect == "moves_what_it_keeps":
        os.makedirs(directory / "kept", exist_ok=True)
        for step in steps(directory)[-keep:]:
            os.rename(place_of(directory, step), directory / "kept" / f"step-{step}")
        for step in begun(directory):
            shutil.rmtree(place_of(directory, step))
        for path in (directory / "kept").iterdir():
            os.rename(path, directory / path.name)
        return
    is_counted = begun if defect.startswith("counts_what") else steps
    if defect == "counts_what_is_in_flight" and len(begun(directory)) > 1:
        newest = place_of(directory, begun(directory)[-1])
        is_counted = steps if (newest / "data.json").exists() else begun
    for step in is_counted(directory)[:-keep]:
        shutil.rmtree(place_of(directory, step))


PRUNING = Checkpointer(
    name="pruning",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    state=make_state,
    is_async=True,
    points=("fs.open", "fs.write"),
    load_points=("fs.read",),
    options=(("defect", "none"),),
)
