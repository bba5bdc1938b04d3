"""States worth saving, by the option ``state`` of the checkpointers of the stock engine.

    default          faultkit's own (`faultkit.checkpointers.states`)
    replicated       whole on every rank: tensors, numbers, an object
    tensors          whole tensors and nothing else, which every format takes
    dtypes           a replicated and a sharded tensor of each dtype: floats to 8 bits, complex, bool, integers
    shapes           of no element, of one, without a dimension, not contiguous
    shared           one storage behind several tensors, and one tensor under two names
    sharded          evenly and unevenly, by rows and by columns, with ranks that have nothing; from 4 ranks on two axes
    checkpointable   `CheckpointableTensor`, from torch 2.14 on
    nested           dicts in lists in tuples, keys that are numbers, None, text, bytes, objects, one that is Stateful
    numbered         plain values in dicts whose keys are numbers, as optimizers have them
    many             10,000 small tensors
    large            one tensor of 32 MiB in shards

Guarantees: a state follows from step, rank and world size alone, and is made without a collective but for the groups of
a device mesh; names and shapes are the same on any number of ranks, so that others can load it.  Each element differs
from one step to the next, for 113 steps at the least; a bool takes turns.  torch is imported when a state is made.
Not covered: expanded tensors, which cannot be loaded in place; quantized and sparse ones, and those on an accelerator.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from faultkit.checkpointers import states
from faultkit.checkpointers.parts import groups
from faultkit.checkpointers.parts.choices import refusal
from faultkit.checkpointers.parts.kept import kept

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "KINDS", "Counter", "Place", "check", "state", "values"]

STRIDE = 5  # by which a value grows from step to step
MODULI = {"bfloat16": 251, "float16": 2039, "int8": 127, "uint8": 251, "int16": 32749, "uint16": 32749}
MODULUS = 999983  # of what has more bits: float32 holds every value below exactly
FINITE_COUNT = 113  # bytes below this are numbers in every float of 8 bits
DTYPES = (
    "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
    "complex64", "complex128", "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64",
)  # fmt: skip
ROWS = 24  # of what is sharded evenly, on up to 24 ranks
MANY_COUNT = 10_000
LARGE_COUNT = 8 << 20  # of float32
CHECKPOINTABLE_FROM = (2, 14)


class Counter:
    """An object that hands its state over itself, as data loaders and schedulers do; equal by what it holds."""

    def __init__(self, step: int) -> None:
        self.numbers = values((5,), "int64", step, 17)
        self.text = f"after step {step}"

    def state_dict(self) -> dict[str, Any]:
        return {"numbers": self.numbers, "text": self.text}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.numbers, self.text = state["numbers"], state["text"]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Counter)
            and self.text == other.text
            and self.numbers.tolist() == other.numbers.tolist()
        )

    __hash__ = None  # type: ignore[assignment]


class Position:
    """An object that is stored as it is, by pickle."""

    def __init__(self, step: int) -> None:
        self.epoch, self.place = step, (step, str(step))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Position) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


def state(
    step: int, rank: int, world_size: int, state: str = "default", group: str = "default"
) -> dict[str, Any]:
    """The state of that kind, as `rank` has it; of a group that is half of the ranks, each half has it whole."""
    return KINDS[state](step, Place(rank, world_size, group))


def check(world_size: int, state: str) -> str:
    """What is wrong with the option."""
    wrong = refusal("state", state, tuple(KINDS))
    if not wrong and state == "checkpointable" and _torch_version() < CHECKPOINTABLE_FROM:
        return (
            f"state=checkpointable needs torch 2.14 or later (installed: {importlib.metadata.version('torch')}); "
            "the nearest is state=sharded"
        )
    return wrong


def values(shape: tuple[int, ...], dtype: str, step: int, first: int = 0) -> torch.Tensor:
    """A tensor whose elements go up from one that `step` and `first` give."""
    import torch

    kind: Any = getattr(torch, dtype)
    numbers = torch.arange(math.prod(shape), dtype=torch.int64).reshape(shape) + first + STRIDE * step
    if kind is torch.bool:
        return numbers % 2 == 0
    if dtype.startswith("float8"):
        return (numbers % FINITE_COUNT).to(torch.uint8).view(kind)
    numbers = numbers % MODULI.get(dtype, MODULUS)
    if kind.is_complex:
        return torch.complex(numbers.double(), -numbers.double() - 1).to(kind)
    return numbers.to(kind)


class Place:
    """Where a rank stands among those that hold one state."""

    def __init__(self, rank: int, world_size: int, group: str = "default") -> None:
        self.rank, self.world_size = rank, world_size
        self.members = groups.members(group, rank, world_size)
        self.size = len(self.members)
        self.is_half = self.size < world_size

    def sharded(
        self, whole: torch.Tensor, by: tuple[int | None, ...] = (0,), shape: tuple[int, ...] = ()
    ) -> torch.Tensor:
        """`whole` as a distributed tensor on a mesh of that shape; ``by`` has the dimension cut on each axis of it."""
        import torch.distributed as dist
        from torch.distributed.tensor import DTensor, Replicate, Shard
        from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

        if self.world_size == 1 or not dist.is_initialized():
            return whole  # a mesh costs a process that loads more than all else
        mesh = self._mesh(shape or (self.size,))
        placements = [Replicate() if dimension is None else Shard(dimension) for dimension in by]
        sizes, offsets = compute_local_shape_and_global_offset(whole.shape, mesh, placements)
        local = whole
        for dimension, (length, offset) in enumerate(zip(sizes, offsets, strict=True)):
            start = min(offset, whole.shape[dimension])
            local = local.narrow(dimension, start, length)
        made: torch.Tensor = DTensor.from_local(
            local.clone(memory_format=_contiguous()),
            mesh,
            placements,
            run_check=False,
            shape=whole.shape,
            stride=whole.stride(),
        )
        return made

    def _mesh(self, shape: tuple[int, ...]) -> Any:
        from torch.distributed.device_mesh import init_device_mesh

        def make() -> Any:
            if not self.is_half:
                return init_device_mesh("cpu", shape, mesh_dim_names=names)
            both = init_device_mesh("cpu", (2, *shape), mesh_dim_names=("half", *names))
            return both[names]

        names = tuple(f"axis{place}" for place in range(len(shape)))
        return kept(f"mesh {shape} of {self.size}", make)


def _contiguous() -> Any:
    import torch

    return torch.contiguous_format


def _default(step: int, place: Place) -> dict[str, Any]:
    return states.with_shards(step, place.sharded)


def _replicated(step: int, place: Place) -> dict[str, Any]:
    return {**states.with_shards(step, lambda whole: whole), "counter": Counter(step)}


def _tensors(step: int, place: Place) -> dict[str, Any]:
    return {"weight": values((4, 3), "float32", step), "bias": values((3,), "bfloat16", step, 50)}


def _dtypes(step: int, place: Place) -> dict[str, Any]:
    return {
        name: {
            "replicated": values((3, 5), name, step, number),
            "sharded": place.sharded(values((ROWS, 3), name, step, number + 1)),
        }
        for number, name in enumerate(DTYPES)
    }


def _shapes(step: int, place: Place) -> dict[str, Any]:
    import torch

    def made(*shape: int, first: int = 0) -> torch.Tensor:
        return values(shape, "float32", step, first)

    return {
        "none": made(0),
        "no_rows": made(0, 4),
        "no_columns": made(3, 0),
        "scalar": made(first=1),
        "scalar_int": values((), "int64", step, 2),
        "one": made(1, first=3),
        "ones": made(1, 1, 1, 1, first=4),
        "transposed": made(3, 5, first=5).t(),
        "every_second": made(20, first=6)[::2],
        "column": made(6, 4, first=7)[:, 1],
        "channels_last": made(2, 3, 4, 5, first=8).to(memory_format=torch.channels_last),
        "sharded_none": place.sharded(made(0, 4)),
        "sharded_one": place.sharded(made(1, 4, first=9)),
        "sharded_transposed": place.sharded(made(3, ROWS + 1, first=10).t()),
        "whole_scalar": place.sharded(made(first=11), by=(None,)),
    }


def _shared(step: int, place: Place) -> dict[str, Any]:
    base = values((24,), "float32", step)
    tied = values((4, 3), "bfloat16", step, 50)
    return {
        "whole": base,
        "first": base[:8],
        "overlapping": base[4:16],
        "as_matrix": base[12:].view(3, 4),
        "embedding": {"weight": tied},
        "head": {"weight": tied, "bias": values((3,), "float32", step, 70)},
        "sharded": place.sharded(values((ROWS, 2), "float32", step, 80)),
    }


def _sharded(step: int, place: Place) -> dict[str, Any]:
    def made(rows: int, columns: int, first: int) -> torch.Tensor:
        return values((rows, columns), "float32", step, first)

    shape = (2, place.size // 2) if place.size >= 4 and place.size % 2 == 0 else ()

    def on_two(whole: torch.Tensor, first: int | None, second: int) -> torch.Tensor:
        return place.sharded(whole, (first, second), shape) if shape else place.sharded(whole, (second,))

    return {
        "evenly": place.sharded(made(ROWS, 3, 0)),
        "unevenly": place.sharded(made(ROWS + 1, 3, 100)),
        "most_have_none": place.sharded(made(1, 3, 200)),
        "by_columns": place.sharded(made(3, ROWS + 1, 300), by=(1,)),
        "whole": place.sharded(made(3, 3, 400), by=(None,)),
        "on_two_axes": on_two(made(ROWS, ROWS, 500), 0, 1),
        "unevenly_on_two_axes": on_two(made(5, 7, 1200), 0, 1),
        "rows_on_two_axes": on_two(made(ROWS + 1, 3, 1300), 0, 0),
        "replicated_and_sharded": on_two(made(ROWS + 1, 3, 1400), None, 0),
    }


def _checkpointable(step: int, place: Place) -> dict[str, Any]:
    import torch

    whole = values((2 * ROWS, 3), "float32", step)
    length = -(-ROWS // place.size)
    start = min(ROWS, place.members.index(place.rank) * length)
    count = min(ROWS, start + length) - start
    starts = (start, ROWS + start)  # of the two parts that this rank has, in one buffer
    buffer: Any = torch.cat([whole[first : first + count] for first in starts])
    buffer.global_shape = tuple(whole.shape)
    buffer.global_offsets = tuple((first, 0) for first in starts)
    buffer.local_offsets = ((0, 0), (count, 0))
    buffer.local_sizes = ((count, 3), (count, 3))
    return {"parts": buffer, "replicated": values((3, 3), "float32", step, 100)}


def _nested(step: int, place: Place) -> dict[str, Any]:
    def made(first: int) -> torch.Tensor:
        return values((4,), "float32", step, first)

    return {
        "model": {"layers": [{"weight": made(0), "bias": made(10)}, {"weight": made(20), "bias": made(30)}]},
        "optimizer": {"state": {0: {"moment": made(40)}, 1: {"moment": made(50)}}, "step": step},
        "pair": (made(60), [made(70), {"deep": {"deeper": {"deepest": made(80)}}}]),
        "random": {"python": (3, tuple(range(step, step + 5)), None), "bytes": bytes([step % 251, 1, 2])},
        "text": f"after step {step}",
        "real": step + 0.5,
        "counter": Counter(step),
        "position": Position(step),
        "sharded": {"weight": place.sharded(values((ROWS, 3), "float32", step, 90))},
    }


def _numbered(step: int, place: Place) -> dict[str, Any]:
    moments = values((2, 4), "float32", step)
    return {
        "optimizer": {
            "state": {0: {"moment": moments[0], "step": step}, 1: {"moment": moments[1], "step": step}}
        }
    }


def _many(step: int, place: Place) -> dict[str, Any]:
    whole = values((MANY_COUNT, 4), "float32", step)
    return {"many": {f"tensor{number}": row.clone() for number, row in enumerate(whole)}}


def _large(step: int, place: Place) -> dict[str, Any]:
    return {"large": place.sharded(values((LARGE_COUNT // 1024, 1024), "float32", step))}


KINDS: dict[str, Callable[[int, Place], dict[str, Any]]] = {
    "default": _default,
    "replicated": _replicated,
    "tensors": _tensors,
    "dtypes": _dtypes,
    "shapes": _shapes,
    "shared": _shared,
    "sharded": _sharded,
    "checkpointable": _checkpointable,
    "nested": _nested,
    "numbered": _numbered,
    "many": _many,
    "large": _large,
}


def _torch_version() -> tuple[int, int]:
    major, minor = importlib.metadata.version("torch").split(".")[:2]
    return int(major), int(minor)
