"""What rank 0 hands to all ranks and what each of them then has of it, as checksums of the same pieces.

Not covered: a tensor that lies on a mesh without rank 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from faultkit.injection.engine import content
from faultkit.injection.engine.leaves import leaf_of, subset_of

__all__ = ["pieces_held", "pieces_to_hold"]

Pieces = dict[str, list[list[Any]]]  # by name: offsets, sizes and checksum of each


def pieces_held(values: Mapping[str, Any]) -> Pieces:
    """Of what this rank has."""
    return {
        name: [[list(offsets), list(sizes), _told(part)] for offsets, sizes, part in content.pieces_of(value)]
        for name, value in values.items()
        if isinstance(value, torch.Tensor)
    }


def pieces_to_hold(given: Mapping[str, Any], spread: Mapping[str, Any]) -> Pieces:
    """Of `given`, which is whole, all that some rank holds where it is spread as in `spread`."""
    found: Pieces = {}
    for name, value in given.items():
        if isinstance(value, torch.Tensor) and not isinstance(value, DTensor) and name in spread:
            places = _places(spread[name])
            if places is not None:
                found[name] = [
                    [offsets, sizes, _told(subset_of(value, offsets, sizes))] for offsets, sizes in places
                ]
    return found


def _told(tensor: torch.Tensor) -> list[Any]:
    leaf = leaf_of(tensor)
    return [leaf.dtype, leaf.told]


def _places(value: Any) -> list[tuple[list[int], list[int]]] | None:
    """Offsets and sizes of what each rank has; None where that cannot be told."""
    if not isinstance(value, DTensor):
        return [([0] * value.dim(), list(value.shape))]
    from torch.distributed.tensor import _utils

    compute = getattr(_utils, "_compute_local_shape_and_global_offset", None)
    if compute is None:
        return None
    shape = value.device_mesh.shape
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], None] = {}
    for coordinate in itertools.product(*(range(size) for size in shape)):
        sizes, offsets = compute(value.shape, shape, list(coordinate), value.placements)
        if 0 not in sizes:
            found[tuple(offsets), tuple(sizes)] = None
    return [(list(offsets), list(sizes)) for offsets, sizes in found]
