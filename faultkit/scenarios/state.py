"""The state of the built-in scenarios.  Imports torch: for ranks only.

`filled` is what is saved, `empty` the same shapes without the values, and `require_filled` compares.  No
function here communicates.
By hand: `faultkit.state_values` compares more, but a script that shows a run takes these functions along.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed._shard import sharded_tensor
from torch.distributed._shard.sharding_spec import ChunkShardingSpec

from faultkit.exceptions import WrongContent

__all__ = ["Application", "deprecations_ignored", "empty", "filled", "require_filled", "require_rank"]

SHARDED_SIDE = 20
REPLICATED_SIDE = 10
NUMBERS = (1, 2, 3, 4)
STEP = 17


class Application:
    """An application's own object, which the engine asks for its state and gives it back."""

    def __init__(self, step: int) -> None:
        self.step = step

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


def filled(application: bool = True, shift: int = 0) -> dict[str, Any]:
    """The state, every element with the value that it has by its place, and `shift` more."""
    numbers = [number + shift for number in NUMBERS]
    state = _state(_matrix(REPLICATED_SIDE) + shift, numbers, STEP + shift, application)
    rows = _matrix(SHARDED_SIDE, _row_count()) + shift
    for shard in state["sharded"].local_shards():
        start = shard.metadata.shard_offsets[0]
        shard.tensor.copy_(rows[start : start + shard.metadata.shard_sizes[0]])
    return state


def empty(application: bool = True) -> dict[str, Any]:
    """The same with other values everywhere, to be loaded into."""
    state = _state(torch.full((REPLICATED_SIDE, REPLICATED_SIDE), -1.0), [0] * len(NUMBERS), 0, application)
    for shard in state["sharded"].local_shards():
        shard.tensor.fill_(-1.0)
    return state


@contextlib.contextmanager
def deprecations_ignored() -> Iterator[None]:
    """What is deprecated here is used on purpose: the engine's own fault cases stand on it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def require_filled(state: dict[str, Any]) -> None:
    """Raises WrongContent, naming each key of `state` whose value is not that of `filled`."""
    expected = filled("application" in state)
    wrong = [name for name in expected if not _same(state[name], expected[name])]
    if wrong:
        raise WrongContent(
            f"the load came back without an error, but these are not what was saved: {', '.join(wrong)}"
        )


def require_rank(coordinator: int) -> None:
    """Raises ValueError unless `coordinator` is a rank of this world."""
    size = dist.get_world_size()
    if not 0 <= coordinator < size:
        raise ValueError(
            f"option 'coordinator' must be a rank of the world, 0..{size - 1} (got {coordinator})"
        )


def _state(replicated: torch.Tensor, numbers: list[int], step: int, application: bool) -> dict[str, Any]:
    spec = ChunkShardingSpec(dim=0, placements=[f"rank:{rank}/cpu" for rank in range(dist.get_world_size())])
    with deprecations_ignored():
        sharded = sharded_tensor.empty(spec, _row_count(), SHARDED_SIDE)
    state = {"sharded": sharded, "replicated": replicated, "numbers": numbers}
    return {**state, "application": Application(step)} if application else state


def _matrix(side: int, row_count: int = 0) -> torch.Tensor:
    row_count = row_count or side
    return torch.arange(row_count * side, dtype=torch.float32).reshape(row_count, side)


def _row_count() -> int:
    """`SHARDED_SIDE`, or as few more as give each rank a row.

    The engine refuses to save a sharded tensor of which a rank's empty part begins beyond the last row, as it
    does on 8 ranks with 20 rows: each has 3, so that the last would begin at row 21.
    """
    ranks = dist.get_world_size()
    rows_each = -(-SHARDED_SIDE // ranks)
    return SHARDED_SIDE if rows_each * (ranks - 1) <= SHARDED_SIDE else rows_each * ranks


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Application):
        return one.step == other.step
    if isinstance(one, torch.Tensor) and not isinstance(one, sharded_tensor.ShardedTensor):
        return torch.equal(one, other)
    if isinstance(one, sharded_tensor.ShardedTensor):
        pairs = zip(one.local_shards(), other.local_shards(), strict=True)
        return all(torch.equal(mine.tensor, theirs.tensor) for mine, theirs in pairs)
    return one == other
