"""What torchrun starts on each host: one save by torch's own engine, and who was where."""

import socket
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

if __name__ == "__main__":
    place = Path(sys.argv[1])
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    dcp.save({f"weight{rank}": torch.full((8,), float(rank))}, checkpoint_id=place / "saved")
    (place / f"rank{rank}").write_text(socket.gethostname())
    dist.destroy_process_group()
