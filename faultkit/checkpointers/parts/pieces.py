"""A state as named pieces: what this rank holds of each value, where it lies in the whole, and how it is filled again.

    named({"model": {"weight": a DTensor}, "step": 7})     {"model.weight": the DTensor, "step": 7}
    pieces(the DTensor)                                    [(((3, 0), (2, 2)), rows 3 and 4, 2 wide)]
    pieces(7)                                              [(None, 7)]

Guarantees: names are those of the stock engine; of a `Stateful` at the top its ``state_dict()`` counts.  `filling`
looks at everything before anything is changed: where a value is missing, has another shape or type, or is stored with
holes, it raises ValueError.  Not covered: tensors that are neither plain, nor DTensor, nor ShardedTensor.  torch is
imported where a state is looked at, which is on the ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from faultkit.messages import seen

__all__ = ["Part", "Place", "assembled", "fill", "filling", "held", "joined", "named", "pieces", "whole"]

Place = (
    tuple[tuple[int, ...], tuple[int, ...]] | None
)  # offsets and sizes in the whole tensor; None: no tensor
Part = tuple[Place, Any]


def named(state: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `state` by name."""
    from torch.distributed.checkpoint._nested_dict import flatten_state_dict

    return flatten_state_dict(_unwrapped(state))[0]


def pieces(value: Any) -> list[Part]:
    """The parts of `value` that this rank holds, each with its place; of a value that is no tensor, itself."""
    import torch

    from faultkit.injection.engine.content import pieces_of

    if not isinstance(value, torch.Tensor):
        return [(None, value)]
    return [((offsets, tuple(tensor.shape)), tensor) for offsets, _, tensor in pieces_of(value)]


def held(value: Any) -> list[Part]:
    """As `pieces`; of a tensor in shards that has no element on any rank an empty part, so that it is there at all."""
    found = pieces(value)
    if found or not hasattr(value, "to_local") or value.numel():
        return found
    local = value.to_local().detach()
    return [(((0,) * local.dim(), tuple(local.shape)), local)]


def whole(state: Mapping[str, Any]) -> dict[str, Any]:
    """`state` with every tensor whole and in the memory of this rank.  Every rank must call this.

    Raises TypeError for a ShardedTensor, which is not put together here.
    """
    from torch.distributed.checkpoint._nested_dict import flatten_state_dict, unflatten_state_dict
    from torch.distributed.tensor import DTensor

    flat, paths = flatten_state_dict(_unwrapped(state))
    for name, value in flat.items():
        if hasattr(value, "local_shards"):
            raise TypeError(
                f"{seen(name)} must be a tensor or a DTensor, to be put together (got a ShardedTensor)"
            )
    full = {
        name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in flat.items()
    }
    return unflatten_state_dict(full, paths)


def assembled(name: str, shape: Sequence[int], dtype: Any, stored: Sequence[Part]) -> Any:
    """A whole tensor from its pieces.  Raises ValueError where these leave holes."""
    import torch

    tensor = torch.empty(tuple(shape), dtype=dtype)
    for target, source in _copies(name, (0,) * tensor.dim(), tensor, stored):
        target.copy_(source)
    return tensor


def joined(stored: Mapping[str, Sequence[Part]]) -> dict[str, Any]:
    """All that is stored by name, tensors whole.  Raises ValueError where their pieces leave holes."""
    found = {}
    for name, parts in stored.items():
        places = [place for place, _ in parts if place is not None]
        if not places:
            [(_, found[name])] = parts
            continue
        ends = ([start + length for start, length in zip(*place, strict=True)] for place in places)
        shape = [max(dimension) for dimension in zip(*ends, strict=True)]
        found[name] = assembled(name, shape, parts[0][1].dtype, parts)
    return found


def fill(state: dict[str, Any], stored: Mapping[str, Sequence[Part]]) -> None:
    """Load into `state` what is stored by name.  Raises ValueError, with nothing changed, where it is not there."""
    filling(state, stored)()


def filling(state: dict[str, Any], stored: Mapping[str, Sequence[Part]]) -> Callable[[], None]:
    """What loads into `state` what is stored by name, all of it found.  Raises ValueError where it is not there."""
    import torch

    unwrapped = _unwrapped(state)
    copies: list[tuple[Any, Any]] = []
    values: dict[str, Any] = {}
    for name, value in named(unwrapped).items():
        if name not in stored:
            raise ValueError(f"{seen(name)} must be in the checkpoint (got none)")
        is_tensor = isinstance(value, torch.Tensor)
        if any(is_tensor != (place is not None) for place, _ in stored[name]):
            raise ValueError(f"{seen(name)} must be {'a' if is_tensor else 'no'} tensor, as it is here")
        if not is_tensor:
            values[name] = stored[name][0][1]
        for place, tensor in pieces(value) if is_tensor else ():
            copies += _copies(name, place[0] if place else (), tensor, stored[name])

    def load() -> None:
        with torch.no_grad():
            for target, source in copies:
                target.copy_(source)
        for key, value in unwrapped.items():
            filled = _replaced(value, (str(key),), values)
            if _is_stateful(state[key]):
                state[key].load_state_dict(filled)
            else:
                state[key] = filled

    return load


def _copies(
    name: str, offsets: Sequence[int], tensor: Any, stored: Sequence[Part]
) -> Iterator[tuple[Any, Any]]:
    """(target, source) of all that overlaps `tensor`, which lies at `offsets`; what is stored does not overlap."""
    left = tensor.numel()
    for place, source in stored:
        there = place[0] if place else ()
        if len(there) != len(offsets):
            raise ValueError(f"{seen(name)} must have {len(offsets)} dimensions (got {len(there)})")
        if source.dtype != tensor.dtype:
            raise ValueError(f"{seen(name)} must be {tensor.dtype} (got {source.dtype})")
        lows = [max(a, b) for a, b in zip(offsets, there, strict=True)]
        ends = zip(offsets, tensor.shape, there, source.shape, strict=True)
        highs = [min(a + n, b + m) for a, n, b, m in ends]
        if any(low >= high for low, high in zip(lows, highs, strict=True)):
            continue
        target = tensor
        for axis, (low, high) in enumerate(zip(lows, highs, strict=True)):
            target = target.narrow(axis, low - offsets[axis], high - low)
            source = source.narrow(axis, low - there[axis], high - low)
        left -= target.numel()
        yield target, source
    if left:
        raise ValueError(
            f"{seen(name)}: {left} elements of {list(tensor.shape)} at {list(offsets)} are not stored"
        )


def _replaced(value: Any, path: tuple[str, ...], values: Mapping[str, Any]) -> Any:
    """`value` with the leaves of `values` in it; containers stay, but for tuples."""
    name = ".".join(path)
    if name in values:
        return values[name]
    if isinstance(value, Mapping):
        for key in list(value):
            value[key] = _replaced(value[key], (*path, str(key)), values)  # type: ignore[index]
    elif isinstance(value, list):
        value[:] = [_replaced(one, (*path, str(at)), values) for at, one in enumerate(value)]
    elif isinstance(value, tuple):
        return tuple(_replaced(one, (*path, str(at)), values) for at, one in enumerate(value))
    return value


def _unwrapped(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.state_dict() if _is_stateful(value) else value for key, value in state.items()}


def _is_stateful(value: Any) -> bool:
    from torch.distributed.checkpoint.stateful import Stateful

    return isinstance(value, Stateful)
