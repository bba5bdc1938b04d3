"""A checkpointer that writes when somebody waits for it, several saves at a time, and the same with one defect each."""

from __future__ import annotations

import copy
import json

from faultkit import Checkpointer

# what is wrong, and the number of saves in flight that shows it
DEFECTS = {"keeps_the_state_itself": 1, "has_one_place_for_all": 2, "forgets_the_first": 2}
latest = []  # the handle that a job has which keeps only one


def make_state(step, rank, world_size):
    return {"step": step, "numbers": [step * 100, step * 10]}


class Handle:
    def __init__(self, state, directory, step, defect):
        self.state, self.directory, self.step, self.defect = state, directory, step, defect

    def result(self, timeout=None):
        if self.defect == "forgets_the_first" and latest[-1] is not self:
            return
        new = self.directory / ("new" if self.defect == "has_one_place_for_all" else f"{self.step}.new")
        if self.defect != "has_one_place_for_all":
            self.write(new)
        new.rename(self.directory / f"{self.step}.json")

    def write(self, path):
        with open(path, "w") as stream:
            stream.write(json.dumps(self.state))


def save(state, directory, step, defect="none"):
    taken = state if defect == "keeps_the_state_itself" else copy.deepcopy(state)
    handle = Handle(taken, directory, step, defect)
    latest[:] = [handle]
    if defect == "has_one_place_for_all":
        handle.write(directory / "new")
    return handle


def steps(directory):
    return sorted(int(path.stem) for path in directory.glob("*.json"))


def load(state, directory):
    if not steps(directory):
        return None
    step = steps(directory)[-1]
    state.update(json.loads((directory / f"{step}.json").read_text()))
    return step


def check(world_size, defect="none"):
    return "" if defect in ("none", *DEFECTS) else f"there is no defect {defect}"


IN_FLIGHT = Checkpointer(
    name="in-flight",
    save=save,
    load=load,
    steps=steps,
    state=make_state,
    is_async=True,
    reshards=False,
    points=("fs.write:before",),
    options=(("defect", "none"),),
    check=check,
)
