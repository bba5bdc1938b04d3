"""A full disk beneath a writer of one's own: every rank learns of it."""

from __future__ import annotations

import pytest
import torch.distributed.checkpoint as dcp

from examples.custom_writer.writers import save_telling


@pytest.mark.spmd  # the body runs on every rank
@pytest.mark.world(4)
@pytest.mark.faults(
    "writer.write_data@2=raise(OSError, ENOSPC)",
    'fs.write("rank-1.sha256")@1=raise(OSError, ENOSPC)',
    raises=dcp.CheckpointException,
)
def test_a_full_disk_is_known_to_every_rank(checkpoint_dir):
    save_telling(checkpoint_dir)
