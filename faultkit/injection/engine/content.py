"""What a save was given and what a load left out, seen on the rank: the evidence of `durable` and `coverage`.

A save's state is told as checksums, one for each piece that this rank holds (`fingerprint`), the moment before
the engine takes it.  A load's targets are filled with random bytes before the engine reads (`watching_targets`);
elements that still hold them when it says that all is well were never filled.  They get their old values back, so
that the load leaves what it leaves without the watch.

No copy of a large state is kept: a save's is read once, and of a load's above `WHOLE_BYTES_MAX` the large tensors are
watched by stripes (`faultkit.injection.engine.stripes`).

Not covered: tensors that are not in the memory of the CPU; for a load, values that are no
tensors, fewer than 8 bytes in a row of a larger tensor and tensors below 4 bytes (chance could make them equal;
a boolean counts as one bit).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.distributed._shard.sharded_tensor import ShardedTensor
from torch.distributed.checkpoint import _nested_dict, default_planner, filesystem
from torch.distributed.tensor import DTensor

from faultkit.injection.engine.stripes import STRIPE_BYTES, STRIPED_BYTES_MIN, Stripes, stripes_of
from faultkit.state_values import bytes_of

__all__ = ["checksum", "fingerprint", "pieces_of", "place_of", "random_like", "unfilled", "watching_targets"]

WHOLE_BYTES_MAX = 64 << 20  # of a load: two copies are kept of it
NAMING_METHODS = (
    "set_up_planner",
    "create_local_plan",
    "resolve_data",
    "lookup_object",
    "transform_object",
)
RUN_BITS_MIN = 64
TENSOR_BITS_MIN = 32
OBJECTS_DEEP_MAX = 40

Piece = tuple[tuple[int, ...], tuple[int, ...], torch.Tensor]  # offsets and sizes in the whole tensor, values


class _Target(NamedTuple):
    """What is loaded into, all of it or the stripes of `whole`, with its values before and what it is filled with."""

    name: str
    tensor: torch.Tensor
    before: torch.Tensor
    pattern: torch.Tensor
    whole: torch.Tensor
    stripes: Stripes | None = None

    def hole(self, mask: torch.Tensor) -> list[Any]:
        """``[name, elements not filled, of how many, first index]``."""
        total = self.whole.numel()
        if self.stripes is not None:
            count, first = self.stripes.hole(mask, self.whole.element_size(), total)
        else:
            count, first = int(mask.sum()), int(mask.reshape(-1).nonzero()[0, 0])
        return [self.name, count, total, first]


def fingerprint(state: Any, planner: Any = None) -> dict[str, list[list[Any]]] | None:
    """``{name: [[offsets, sizes, checksum], ...]}`` of what this rank holds; None where it cannot be told.

    A value that is no tensor has one entry, ``[None, None, checksum]``.  None for a planner that names or changes
    values by itself, since only the planner knows how.
    """
    if not isinstance(state, Mapping) or not _names_as_the_engine(planner):
        return None
    with contextlib.suppress(Exception):
        if getattr(planner, "flatten_state_dict", True):
            state, _ = _nested_dict.flatten_state_dict(dict(state))
        found: dict[str, list[list[Any]]] = {}
        for name, value in state.items():
            if not isinstance(value, torch.Tensor):
                found[name] = [[None, None, checksum(value)]]
                continue
            found[name] = []  # also where this rank has no element of it
            for offsets, sizes, tensor in pieces_of(value):
                if tensor.device.type != "cpu":
                    return None
                found[name].append([list(offsets), list(sizes), checksum(tensor)])
        return found
    return None


def _names_as_the_engine(planner: Any) -> bool:
    """Whether what is stored under which name follows from the state as the engine's own planner has it."""
    if planner is None:
        return True
    own = default_planner.DefaultSavePlanner
    bases = type(planner).__mro__
    return own in bases and not any(
        name in vars(base) for base in bases[: bases.index(own)] for name in NAMING_METHODS
    )


def place_of(writer: Any) -> str | None:
    """The directory to which `writer` writes, where another process can read it back as the stock engine does."""
    if not isinstance(writer, filesystem.FileSystemWriter):
        return None
    if any(kind.__name__ == "HuggingFaceStorageWriter" for kind in type(writer).__mro__):
        return None  # another format, which needs a reader of its own
    path = getattr(writer, "path", None)
    return os.path.abspath(path) if isinstance(path, (str, os.PathLike)) else None


def pieces_of(value: Any) -> list[Piece]:
    """The parts of a tensor that this rank holds, with their place in the whole."""
    if isinstance(value, ShardedTensor):
        return [
            (tuple(s.metadata.shard_offsets), tuple(s.metadata.shard_sizes), s.tensor.detach())
            for s in value.local_shards()
        ]
    if isinstance(value, DTensor):
        from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

        sizes, offsets = compute_local_shape_and_global_offset(
            value.shape, value.device_mesh, value.placements
        )
        local = value.to_local().detach()
        return [(tuple(offsets), tuple(sizes), local)] if local.numel() else []
    return [((0,) * value.dim(), tuple(value.shape), value.detach())]


def checksum(value: Any) -> str:
    """Equal for equal values.  An object that is no array counts by its type, and by what pickle keeps of it where that
    comes back from pickle as it was."""
    if isinstance(value, torch.Tensor):
        if isinstance(value, (ShardedTensor, DTensor)) or value.is_sparse or value.is_quantized:
            return f"{type(value).__name__}"
        return f"{value.dtype}{list(value.shape)}:{zlib.crc32(bytes_of(value).numpy()):08x}"
    return hashlib.blake2b(_canonical(value).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def _canonical(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return checksum(value)
    if (
        type(value).__module__ == "numpy"
        and getattr(getattr(value, "dtype", None), "kind", "O") in "biufcSUmM"
    ):
        return f"{value.dtype}{value.shape}:{zlib.crc32(value.tobytes()):08x}"
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{_canonical(k)}:{_canonical(v)}" for k, v in value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_canonical, value)) + "]"
    if isinstance(value, (set, frozenset)):
        return "<" + ",".join(sorted(map(_canonical, value))) + ">"
    return f"<{type(value).__module__}.{type(value).__qualname__}{_kept(value)}>"


def _kept(value: Any) -> str:
    """What pickle keeps of an object; "" where that is nothing to compare by, for it does not come back as it was."""
    try:
        told = _reduced(value, OBJECTS_DEEP_MAX)
        return told if told == _reduced(pickle.loads(pickle.dumps(value)), OBJECTS_DEEP_MAX) else ""
    except Exception:
        return ""


def _reduced(value: Any, depth: int) -> str:
    if depth == 0:
        raise RecursionError
    if isinstance(value, torch.Tensor):
        return checksum(value)
    if isinstance(value, Mapping):
        pairs = sorted(f"{_reduced(key, depth - 1)}:{_reduced(one, depth - 1)}" for key, one in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [_reduced(one, depth - 1) for one in value]
        return f"{type(value).__name__}[{','.join(parts if isinstance(value, (list, tuple)) else sorted(parts))}]"
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value)
    if isinstance(value, bytearray):
        return repr(bytes(value))
    if isinstance(value, type) or callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    kept = value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    if isinstance(kept, str):
        return kept
    kept = tuple(list(part) if isinstance(part, Iterator) else part for part in kept)
    return f"{type(value).__qualname__}{_reduced(kept, depth - 1)}"


def _item_bits(tensor: torch.Tensor) -> int:
    return 1 if tensor.dtype == torch.bool else 8 * tensor.element_size()


def random_like(tensor: torch.Tensor) -> torch.Tensor:
    """Random bytes in the shape and type of `tensor`; the generators of the program are left alone."""
    generator = torch.Generator()
    generator.manual_seed(0x6661756C746B6974 ^ tensor.numel())
    count = tensor.numel() * tensor.element_size()
    padded = torch.randint(-(2**63), 2**63 - 1, ((count + 7) // 8,), generator=generator)
    random = padded.view(torch.uint8)[:count]
    random = random & 1 if tensor.dtype == torch.bool else random  # no other byte stays what it is
    return random.view(tensor.dtype).reshape(tensor.shape)


def unfilled(tensor: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor | None:
    """Which elements still hold `pattern`: a mask in the shape of `tensor`; None where there is none."""
    item_bytes, item_bits = tensor.element_size(), _item_bits(tensor)
    same = (bytes_of(tensor) == bytes_of(pattern)).view(-1, item_bytes).all(1)
    if not same.any():
        return None
    run = -(-RUN_BITS_MIN // item_bits)
    if same.numel() < run:
        is_whole = bool(same.all()) and same.numel() * item_bits >= TENSOR_BITS_MIN
        return same.reshape(tensor.shape) if is_whole else None
    starts = same.unfold(0, run, 1).all(1)
    if not starts.any():
        return None
    mask = torch.zeros_like(same)
    for shift in range(run):
        mask[shift : shift + starts.numel()] |= starts
    return mask.reshape(tensor.shape)


@contextlib.contextmanager
def watching_targets(
    state: Any,
    planner: Any,
    report: Callable[[list[list[Any]]], None],
    report_failed: Callable[[list[str], int, BaseException], None] | None = None,
) -> Iterator[None]:
    """Watch a load into `state`; `report` gets ``[name, elements not filled, of how many, first index]`` of each
    target that was left with holes, once, where the load came back well.  `report_failed` gets the names of those that
    are not as they were, of how many, and the error, where it did not."""
    targets: list[_Target] = []
    if not getattr(planner, "allow_partial_load", False):
        with contextlib.suppress(Exception):
            targets = _watched(state)
    targets = [target for target in targets if _fill(target)]
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        holes = []
        with torch.no_grad():
            for target in targets:
                mask = unfilled(target.tensor, target.pattern)
                if mask is not None:
                    holes.append(target.hole(mask))
                    _bits_of(target.tensor)[mask] = _bits_of(target.before)[mask]
        if failure is None and holes:
            report(holes)
        elif failure is not None and report_failed is not None:
            changed = [
                target.name
                for target in targets
                if not torch.equal(*map(bytes_of, (target.tensor, target.before)))
            ]
            report_failed(list(dict.fromkeys(changed)), len(targets), failure)


def _bits_of(tensor: torch.Tensor) -> torch.Tensor:
    """The same elements as a type that can be picked from by a mask, which not all can."""
    same_size = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}.get(tensor.element_size())
    return tensor if same_size is None else tensor.view(same_size)


def _fill(target: _Target) -> bool:
    try:
        with torch.no_grad():
            target.tensor.copy_(target.pattern)
    except Exception:
        return False  # not to be written to: the load will say so
    return True


def _watched(state: Any) -> list[_Target]:
    if not isinstance(state, Mapping):
        return []
    flat, _ = _nested_dict.flatten_state_dict(dict(state))
    tensors = []
    seen: set[int] = set()
    for name, value in flat.items():
        if not isinstance(value, torch.Tensor):
            continue
        for _, _, tensor in pieces_of(value):
            plain = tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.is_quantized
            is_small = tensor.numel() * _item_bits(tensor) < TENSOR_BITS_MIN
            if plain and not is_small and tensor.data_ptr() not in seen:
                seen.add(tensor.data_ptr())
                tensors.append((name, tensor))
    is_large = sum(map(_bytes_in, (tensor for _, tensor in tensors))) > WHOLE_BYTES_MAX
    row = random_like(torch.empty(STRIPE_BYTES, dtype=torch.uint8)) if is_large else None
    found = []
    for name, tensor in tensors:
        if row is None or _bytes_in(tensor) < STRIPED_BYTES_MIN:
            found.append(_Target(name, tensor, tensor.clone(), random_like(tensor), tensor))
        elif (stripes := stripes_of(tensor)) is not None:
            view = stripes.view
            found.append(_Target(name, view, view.clone(), row.expand_as(view), tensor, stripes))
    return found


def _bytes_in(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
