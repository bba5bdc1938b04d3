"""A training that keeps one checkpoint: written over the old one, or beside it and then renamed (``--rename``)."""

import argparse
import os

import torch

arguments = argparse.ArgumentParser()
arguments.add_argument("--out", required=True)
arguments.add_argument("--rename", action="store_true")
arguments.add_argument("--sync", action="store_true")
given = arguments.parse_args()

os.makedirs(given.out, exist_ok=True)
path = os.path.join(given.out, "last.pt")
torch.manual_seed(1)
weight = torch.zeros(64, requires_grad=True)
step = 0
if os.path.exists(path):
    loaded = torch.load(path)
    step = loaded["step"]
    with torch.no_grad():
        weight.copy_(loaded["weight"])
print(f"resumed from step {step}", flush=True)

while step < 20:
    step += 1
    loss = ((weight - torch.arange(64.0) / step) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        weight -= 0.3 * weight.grad
    weight.grad = None
    if step % 5 == 0:
        target = f"{path}.new" if given.rename else path
        torch.save({"step": step, "weight": weight.detach()}, target)
        if given.sync:
            descriptor = os.open(target, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        if given.rename:
            os.replace(target, path)
        if given.sync:
            descriptor = os.open(given.out, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

torch.save(weight.detach(), os.path.join(given.out, "final.pt"))
