"""How many distinct crash states are judged in a second: a save of ten tensors on two ranks, fresh and overwriting.

Counted is the time of enumerating, loading and comparing, with two processes that load; starting these and telling
the findings is in `crash_exploration`.  The other side is the same with every distinct tree loaded.
"""

from __future__ import annotations

import statistics
import time

from faultkit import World, crash
from faultkit.crash.exploration import record_save

__all__ = ["crash_exploration", "crash_states"]

SCENARIOS = ("dcp-fresh", "dcp-overwrite")
TURN_COUNT = 3


def _explored(pruning: bool) -> tuple[float, int, int]:
    """(seconds of judging, distinct states judged, loads) of both scenarios, all models."""
    with World(2) as world:
        recordings = {name: record_save(crash.get(name), world) for name in SCENARIOS}
    seconds, judged, loaded = 0.0, 0, 0
    for name, recording in recordings.items():
        found = crash.explore(name, recording=recording, pruning=pruning, budget_seconds=600.0)
        seconds += sum(count.seconds for count in found.counts)
        assert found.complete, found.text()
        judged += sum(count.judged for count in found.counts)
        loaded += found.loaded
    return seconds, judged, loaded


def crash_states() -> tuple[str, str, str, str]:
    """Distinct states judged per second, with pruning and without."""
    _explored(True)
    turns = []
    for _ in range(TURN_COUNT):
        with_pruning, judged, loaded = _explored(True)
        without, judged_all, _ = _explored(False)
        turns.append((judged / with_pruning, judged_all / without, judged, loaded))
    ours = statistics.median(turn[0] for turn in turns)
    theirs = statistics.median(turn[1] for turn in turns)
    _, _, judged, loaded = turns[0]
    return (
        f"crash states judged, 2 ranks, 10 tensors ({judged} distinct, {loaded} loaded) / each loaded",
        f"{ours:.0f} per s",
        f"{theirs:.0f} per s",
        f"{ours / theirs:.1f}x",
    )


def crash_exploration() -> tuple[str, str, str, str]:
    """A whole exploration of fresh and overwrite, all models, 2 ranks: recording, exploring, telling."""
    seconds = []
    for _ in range(TURN_COUNT):
        began = time.perf_counter()
        for name in SCENARIOS:
            assert crash.explore(name, world=2).complete
        seconds.append(time.perf_counter() - began)
    middle = statistics.median(seconds)
    return (
        "crash exploration of fresh and overwrite, all models, 2 ranks",
        f"{middle:.1f} s",
        "60 s",
        f"{60 / middle:.0f}x",
    )
