"""Reductions as gloo does them: the same operators, in the order of its rings, so that results are equal bit for bit.

A ring cuts the tensor into one chunk for each member.  Chunk ``c`` starts at member ``c - 1`` and goes down the ring;
each member adds what it has to what it received, and the last one is member ``c`` itself.  `ring` does that for all
chunks at once, in as many steps as there are members, whatever the number of chunks.  An average is a sum divided at
the end, which torch refuses for integers: every member then has the sum, and the error.

Not covered: which messages carry the chunks (`faultkit.worlds.simulated.network.gloo`); what a minimum or maximum of
16-bit numbers makes of NaN, where gloo's vector code and its scalar code differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed import ReduceOp

from faultkit.worlds.simulated.network.gloo import segments

if TYPE_CHECKING:
    from faultkit.worlds.simulated.network.data_movement import Data

__all__ = ["average", "combiner", "ring", "typed"]

KINDS = ReduceOp.RedOpType


def _greater(own: Any, received: Any) -> Any:
    return torch.where(own < received, received, own)  # as `std::max`: what NaN comes to depends on the order


def _lesser(own: Any, received: Any) -> Any:
    return torch.where(received < own, received, own)


_COMBINERS: dict[Any, Callable[[Any, Any], Any]] = {
    KINDS.SUM: torch.add,
    KINDS.AVG: torch.add,
    KINDS.PRODUCT: torch.mul,
    KINDS.MIN: _lesser,
    KINDS.MAX: _greater,
    KINDS.BAND: torch.bitwise_and,
    KINDS.BOR: torch.bitwise_or,
    KINDS.BXOR: torch.bitwise_xor,
}


def kind_of(op: Any) -> Any:
    return getattr(op, "op", op)


def combiner(op: Any) -> Callable[[Any, Any], Any]:
    """What a member does with its own elements and those that it received."""
    return _COMBINERS[kind_of(op)]


def typed(tensor: Any) -> Any:
    """The tensor's elements in a row, as gloo takes them: truth values are bytes, complex numbers are pairs."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bool:
        tensor = tensor.view(torch.uint8)
    elif tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.reshape(-1)


def ring(rows: list[Any], op: Any, *, width: int = 0) -> Any:
    """What all members have at the end of a ring over `rows`, one of each member, of equal length and type.

    With `width` a row is several tensors of that many elements, each of which goes through a ring of its own that
    begins as those of `reduce` do; without, it is one tensor of an `all_reduce`.
    """
    size, total = len(rows), rows[0].numel()
    if size == 1 or not total:
        return rows[0].clone()
    stacked = torch.stack(rows)
    combine = combiner(op)
    if kind_of(op) in (KINDS.SUM, KINDS.AVG) and not stacked.is_floating_point():
        return stacked.sum(0, dtype=stacked.dtype)  # in whatever order
    element = stacked.element_size()
    length, count = segments((width or total) * element, element, size, limits_first=not width)
    chunk = count // size * (length // element)
    tensors, width = total // (width or total), width or total
    chunks = -(-width // chunk)
    blocks = stacked.view(size, tensors, width)
    if width % chunk:
        blocks = torch.nn.functional.pad(blocks, (0, chunks * chunk - width))
    blocks = blocks.view(size, tensors * chunks, chunk)
    places = torch.arange(tensors * chunks)
    last = torch.arange(chunks).repeat(tensors)
    having = (last - 1 - torch.arange(size).unsqueeze(1)) % size  # who adds to a chunk in a step
    result = blocks[having[0], places]
    for members in having[1:]:
        result = combine(blocks[members, places], result)
    return result.view(tensors, -1)[:, :width].reshape(-1)


def average(data: Data, size: int) -> None:
    """Divide the sums that the call's outputs are, where it is an average."""
    if data.op is None or kind_of(data.op) != KINDS.AVG:
        return
    try:
        for tensor in data.flat():
            tensor.detach().div_(size)
    except RuntimeError as error:
        data.error = error
