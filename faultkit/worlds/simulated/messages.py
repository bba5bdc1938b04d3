"""What the parent orders from the host of a simulated world, and what it is told besides the outcomes."""

from __future__ import annotations

from typing import Any

import msgspec

from faultkit.exceptions import ScheduleError
from faultkit.messages import listed
from faultkit.runs.launcher import NONE
from faultkit.worlds.rank import Call

__all__ = ["Decision", "Schedule", "SimulatedCall", "Simulation"]


class Schedule(msgspec.Struct, frozen=True):
    """Which thread goes first at each decision, by number; after the last one, whoever ran before goes on.

    `asleep` holds threads, and what each is about to do, that need not be chosen from the last of these decisions
    on until something happens that concerns them: those orders have been seen (`faultkit.worlds.simulated.explore`).
    """

    choices: tuple[int, ...] = ()
    asleep: tuple[tuple[int, str], ...] = ()


class SimulatedCall(msgspec.Struct, frozen=True, kw_only=True):
    """One run of all ranks: the call, and what only a simulated world knows.

    `limit_seconds` bounds the simulated clock and `real_seconds` the real one, for each attempt.  With a
    `schedule` it says which of the ready threads goes first at each decision; without one the call's seed does.
    """

    call: Call
    size: int
    backend: str
    limit_seconds: float
    real_seconds: float
    group_timeout_seconds: float | None = None
    schedule: Schedule | None = None
    launcher: str = NONE


class Decision(msgspec.Struct, frozen=True):
    """Where more than one thread could go on: their numbers, what each is about to do, and which one was chosen.

    `asleep` are those whose turn would show nothing new; `is_vain` tells that this holds for all of them, so that
    the rest of the run has been seen.  The choice `is_private` where the thread did something to a file that no other
    thread of the run touched: then whoever else could have gone first may as well go next.
    """

    ready: tuple[int, ...]
    operations: tuple[str, ...]
    chosen: int
    asleep: tuple[int, ...] = ()
    is_vain: bool = False
    is_private: bool = False


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a simulated run besides its outcomes.

    `seconds` is how long it took on the simulated clock; `steps` how often the scheduler was asked and `switches`
    how often another thread went on.  `cpu_seconds` is what the host used, `program_seconds` how much of it the
    program and the engine themselves did, without messages, hand-overs, setting up and telling.  `is_certain`
    tells that every rank without an end can never come to one; if it is false, a deadline has passed.
    `decisions` are there where a schedule was followed.
    """

    seed: int = 0
    seconds: float = 0.0
    steps: int = 0
    switches: int = 0
    cpu_seconds: float = 0.0
    program_seconds: float = 0.0
    is_certain: bool = True
    decisions: tuple[Decision, ...] = ()

    @property
    def schedule(self) -> tuple[int, ...]:
        """The decisions, as `World.run` takes them."""
        return tuple(decision.chosen for decision in self.decisions)

    def require_followed(self, schedule: Schedule, run: Any) -> None:
        """Raise ScheduleError, with where they part, if the run could not be held to the schedule."""
        choices = schedule.choices
        for place, chosen in enumerate(choices):
            if place >= len(self.decisions):
                seen = f"the run came to {len(self.decisions)} decisions"
            elif self.decisions[place].chosen == chosen:
                continue
            else:
                ready = listed(map(str, self.decisions[place].ready))
                seen = f"thread {chosen} cannot go on at decision {place}; {ready} can"
            raise ScheduleError(
                f"the schedule of {len(choices)} decisions is not one of this run: {seen}; a schedule is of one "
                "function, one plan and one number of ranks",
                run,
            )
