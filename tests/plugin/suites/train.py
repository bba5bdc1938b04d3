"""A training script that survives being killed."""

import json
import os
import sys

out = sys.argv[sys.argv.index("--out") + 1]
os.makedirs(out, exist_ok=True)
path, step = os.path.join(out, "state.json"), 0
if os.path.exists(path):
    with open(path) as stream:
        step = json.load(stream)
while step < 2:
    step += 1
    with open(path + ".new", "w") as stream:
        json.dump(step, stream)
    os.replace(path + ".new", path)
