"""A quantized matrix of safetensors, whose reader counts blocks from the start of the slice (`DEFECT`).

So did the engine's own reader before torch 2.13: who reads the second half of the rows scaled them as the first.
Whoever loads all of it sees nothing.  In the twin they are counted from the start of the tensor.
"""

from __future__ import annotations

import functools
import json

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import QuantizedHuggingFaceStorageReader
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from faultkit import Checkpointer

__all__ = ["DEFECT", "TWIN"]

BLOCK, SIDE = 4, 8
NAME = "layer.weight"


class FromTheSlice(QuantizedHuggingFaceStorageReader):
    def _get_slice_to_block_mapping(self, request):
        rows, columns = request.lengths
        whole = slice(0, rows), slice(0, columns)
        return ((0, -(-rows // self.block_size)), (0, -(-columns // self.block_size)), *whole)


def make_state(step, rank, world_size):
    scales = torch.arange(1.0, 5.0).reshape(2, 2) * step
    whole = scales.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
    mesh = init_device_mesh("cpu", (world_size,))
    return {NAME: distribute_tensor(whole, mesh, [Shard(0)]), "bias": torch.full((3,), float(step))}


def save(state, directory, step):
    from safetensors.torch import save_file

    weight = state[NAME].full_tensor()
    if dist.get_rank() == 0:
        blocks = weight.reshape(2, BLOCK, 2, BLOCK)
        scales = blocks.amax(dim=(1, 3))
        ones = (blocks / scales[:, None, :, None]).reshape(SIDE, SIDE).to(torch.float8_e4m3fn)
        stored = {NAME: ones, f"{NAME}_scale_inv": scales, "bias": state["bias"], "step": torch.tensor(step)}
        save_file(stored, directory / "model.safetensors")
        index = {"weight_map": dict.fromkeys(stored, "model.safetensors")}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    dist.barrier()


def load(state, directory, reader):
    if not (directory / "model.safetensors.index.json").exists():
        return None
    step = {"step": torch.tensor(0)}
    dcp.load(state, storage_reader=reader(str(directory), block_size=BLOCK))
    dcp.load(step, storage_reader=reader(str(directory), block_size=BLOCK))
    return int(step["step"])


def checkpointer(name, reader):
    return Checkpointer(
        name=name,
        save=save,
        load=functools.partial(load, reader=reader),
        state=make_state,
        requires=("safetensors>=0.4",),
        preload=(__name__,),
    )


DEFECT = checkpointer("from-the-slice", FromTheSlice)
TWIN = checkpointer("from-the-tensor", QuantizedHuggingFaceStorageReader)
