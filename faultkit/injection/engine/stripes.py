"""Which part of a large tensor is watched while a load fills it, so that no copy of the whole is kept.

Guarantees: of each `STEP_BYTES` a stripe of `STRIPE_BYTES` is watched, and the last one ends where the tensor ends; so
a hole of `STEP_BYTES` in a row is seen wherever it lies, and one at the end from 8 bytes on.  What is kept is
a sixteenth of the tensor.  Not covered: a smaller hole between two stripes; tensors that do not lie in one piece.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["STEP_BYTES", "STRIPED_BYTES_MIN", "STRIPE_BYTES", "Stripes", "stripes_of"]

STRIPE_BYTES = 4 << 10  # a page
STEP_BYTES = 64 << 10
STRIPED_BYTES_MIN = 2 * STEP_BYTES


class Stripes(NamedTuple):
    """`view` has the bytes of a stripe in each row; `offset` is where the first begins, `step` how far the next is."""

    view: torch.Tensor
    offset: int
    step: int

    def hole(self, mask: torch.Tensor, item_bytes: int, total: int) -> tuple[int, int]:
        """(how many elements at least are not filled, the first of them), by a mask of bytes that are not."""
        first_row, first_byte = map(int, mask.nonzero()[0])
        first = (self.offset + first_row * self.step + first_byte) // item_bytes
        if bool(mask.all()):
            return total, 0
        whole = mask.all(1)
        between = int((whole[1:] & whole[:-1]).sum()) * (self.step - STRIPE_BYTES)
        return max((int(mask.sum()) + between) // item_bytes, 1), first


def stripes_of(tensor: torch.Tensor) -> Stripes | None:
    """The stripes of a tensor of `STRIPED_BYTES_MIN` or more; None where it does not lie in one piece."""
    if not tensor.is_contiguous():
        return None
    flat = tensor.reshape(-1).view(torch.uint8)
    count = -(-(flat.numel() - STRIPE_BYTES) // STEP_BYTES) + 1
    step = (flat.numel() - STRIPE_BYTES) // (count - 1)
    offset = flat.numel() - STRIPE_BYTES - step * (count - 1)
    view = flat.as_strided((count, STRIPE_BYTES), (step, 1), flat.storage_offset() + offset)
    return Stripes(view, offset, step)
