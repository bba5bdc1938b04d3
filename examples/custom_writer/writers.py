"""A storage writer of one's own over DCP's: it keeps a digest of each file, and meets a disk that is full.

`faultkit sweep` with ``--points writer.write_data --actions 'raise(OSError, ENOSPC)'`` breaks
`save_swallowing` and `save_telling`; the README has the lines.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp


class Digesting(dcp.FileSystemWriter):
    """Writes ``rank-N.sha256`` beside what rank N writes."""

    def write_data(self, plan, planner):
        future = super().write_data(plan, planner)
        digests = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
            for path in sorted(Path(self.path).glob(f"__{dist.get_rank()}_*"))
        ]
        (Path(self.path) / f"rank-{dist.get_rank()}.sha256").write_text("".join(digests))
        return future


class Swallowing(Digesting):
    """Broken: a training must not end because of a full disk, so the error is printed."""

    def write_data(self, plan, planner):
        try:
            return super().write_data(plan, planner)
        except OSError as error:
            print(f"rank {dist.get_rank()} could not write: {error}")
            nothing_written = torch.futures.Future()
            nothing_written.set_result([])
            return nothing_written


def save_swallowing(directory):
    dcp.save({"weight": torch.ones(8)}, storage_writer=Swallowing(directory))


def save_telling(directory):
    dcp.save({"weight": torch.ones(8)}, storage_writer=Digesting(directory))
