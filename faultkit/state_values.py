"""Values of a state, taken apart and compared bit for bit.  Imports torch: for ranks and for processes that load.

A state is nested dicts, lists and tuples; tensors and arrays of numpy are compared by their bytes, a distributed tensor
by what this process has of it, anything else by type and ``==``.  Guarantees: NaN equals itself, 0.0 is not -0.0, and
an empty tensor is compared as any other.  Not covered, since each asks something else: values that another process
holds, of which only checksums travel (`faultkit.injection.engine.content`), and which save each row is of
(`faultkit.history.judge`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

__all__ = [
    "bytes_of",
    "differences",
    "equal_elements",
    "leaves_of",
    "named_leaves",
    "parts_of",
    "same",
    "tensor_of",
]


def leaves_of(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf with its name, such as ``optimizer.state[0]``; that of a value that is a leaf itself is ``value``."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves_of(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for place, part in enumerate(value):
            yield from leaves_of(part, f"{name}[{place}]")
    else:
        yield name or "value", value


def parts_of(value: Any) -> list[torch.Tensor]:
    """What this process has of a tensor: its shards, its local part, or all of it."""
    if hasattr(value, "local_shards"):
        return [shard.tensor.detach() for shard in value.local_shards()]
    return [(value.to_local() if hasattr(value, "to_local") else value).detach()]


def tensor_of(value: Any) -> torch.Tensor | None:
    """What this process has of a tensor or an array, as one tensor on the CPU, shards in a row; None for others."""
    if isinstance(value, torch.Tensor) or hasattr(value, "local_shards"):
        parts = [part.cpu() for part in parts_of(value)]
        if hasattr(value, "local_shards"):
            return torch.cat([part.reshape(-1) for part in parts]) if parts else torch.empty(0)
        return parts[0]
    if type(value).__module__ == "numpy" and hasattr(value, "dtype") and value.dtype.kind in "biufc":
        return torch.as_tensor(value)
    return None


def bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    """All bytes of a tensor, in the order of its elements; a view of it where it lies so."""
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    if not tensor.is_contiguous() or (
        tensor.dim() and tensor.stride(-1) != 1
    ):  # of one element, and of none, any stride will do
        tensor = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
    return tensor.reshape(-1).view(torch.uint8)


def equal_elements(got: torch.Tensor, expected: Any) -> torch.Tensor | None:
    """For each element whether it is as expected; None where shape or type are not."""
    other = tensor_of(expected)
    if other is None or other.shape != got.shape or other.dtype != got.dtype:
        return None
    equal = bytes_of(got) == bytes_of(other)
    return equal.view(got.numel(), -1).all(dim=1) if got.numel() else equal


def same(one: Any, other: Any) -> bool:
    """Whether two leaves are equal."""
    tensor = tensor_of(one)
    if tensor is not None:
        equal = equal_elements(tensor, other)
        return equal is not None and bool(equal.all())
    if type(one) is not type(other):
        return False
    try:
        return bool(one == other)
    except Exception:
        return False


def differences(one: Any, other: Any) -> list[str]:
    """Names of the leaves in which two values differ."""
    ones, others = named_leaves(one), named_leaves(other)
    return [
        name
        for name in {**ones, **others}
        if name not in ones or name not in others or not same(ones[name], others[name])
    ]


def named_leaves(value: Any) -> dict[str, Any]:
    """The leaves by name; of two of one name, such as those under the keys 0 and "0", the second gets another."""
    named: dict[str, Any] = {}
    for name, leaf in leaves_of(value):
        while name in named:
            name += " (another key)"
        named[name] = leaf
    return named
