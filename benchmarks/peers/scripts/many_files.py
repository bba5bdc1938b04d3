"""A job without torch that keeps every checkpoint under a name of its own; with ``--forgetful`` it uses none."""

import argparse
import glob
import json
import os

arguments = argparse.ArgumentParser()
arguments.add_argument("--out", required=True)
arguments.add_argument("--forgetful", action="store_true")
given = arguments.parse_args()

os.makedirs(given.out, exist_ok=True)
state = {"step": 0, "total": 0}
saved = glob.glob(os.path.join(given.out, "save-*.json"))
if saved and not given.forgetful:
    newest = max(saved, key=lambda name: int(name.rpartition("-")[2].partition(".")[0]))
    with open(newest) as stream:
        state = json.load(stream)
print(f"resumed from step {state['step']}", flush=True)

while state["step"] < 12:
    state["step"] += 1
    state["total"] = (7 * state["total"] + state["step"]) % 99991
    if state["step"] % 4 == 0:
        name = os.path.join(given.out, f"save-{state['step']}.json")
        with open(f"{name}.new", "w") as stream:
            json.dump(state, stream)
        os.replace(f"{name}.new", name)

with open(os.path.join(given.out, "final.json"), "w") as stream:
    json.dump(state, stream)
