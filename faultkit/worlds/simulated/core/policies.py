"""Who runs next: the policies of the simulated scheduler.

`Priorities` draws from a seed: each task has a random priority, the ready one with the highest runs, and at a few
random steps the running one falls behind all others, as in probabilistic concurrency testing (PCT; Burckhardt,
Kothari, Musuvathi and Nagarakatte, ASPLOS 2010).  `Choices` follows a list of decisions and writes down what it
could have decided instead; the exhaustive search is built on it.

A task that found nothing to do, or has gone on for very long, falls behind all others (`Scheduler.yield_turn`).
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from faultkit.worlds.simulated.core.independence import FILE, SEPARATOR, are_independent
from faultkit.worlds.simulated.messages import Decision, Schedule

if TYPE_CHECKING:
    from faultkit.worlds.simulated.core.scheduler import Task

__all__ = ["STEPS_GUESSED_PER_TASK", "STEPS_WITH_FILES", "Choices", "Policy", "Priorities"]

DUE = float("inf")
LOWEST_FIRST = 1 << 20  # below any priority that a task is born with
CHANGE_COUNT = 3  # a bug of depth d needs d - 1 changes of priority
STEPS_GUESSED_PER_TASK = 24  # of a checkpoint's save; changes are drawn among so many
STEPS_WITH_FILES = (8, 24, 72)  # where each file operation is one: of little work, of such a save, of more


class Policy(Protocol):
    """What the scheduler asks."""

    def added(self, task: Task) -> None: ...

    def ready(self, task: Task) -> None: ...

    def removed(self, task: Task) -> None: ...

    def ready_count(self) -> int:
        """How many tasks wait for their turn."""

    def take(self) -> Task | None: ...

    def at_pause(self, task: Task, demote: bool) -> Task: ...


class Priorities:
    """By seed, with priorities that change at random steps."""

    def __init__(
        self,
        seed: int,
        task_count: int,
        change_count: int = CHANGE_COUNT,
        steps_guessed: Sequence[int] = (STEPS_GUESSED_PER_TASK,),
    ) -> None:
        self._seed = seed
        self._random = random.Random(f"faultkit schedule {seed}")
        self._heap: list[tuple[float, int, Task]] = []
        self._step = 0
        guessed = self._random.choice(steps_guessed) if len(steps_guessed) > 1 else steps_guessed[0]
        horizon = max(1, guessed * task_count)
        self._changes = {self._random.randrange(1, horizon + 1) for _ in range(change_count if seed else 0)}
        self._lowest = -float(LOWEST_FIRST)

    def added(self, task: Task) -> None:
        # seed 0 is the plainest schedule, to which a shrinking search comes down: rank by rank, as far as each can
        task.priority = self._random.random() if self._seed else -float(task.number)

    def ready(self, task: Task) -> None:
        priority = DUE if task.is_due else task.priority
        task.is_due = False
        heapq.heappush(self._heap, (-priority, task.number, task))

    def removed(self, task: Task) -> None:
        self._heap = [entry for entry in self._heap if entry[2] is not task]
        heapq.heapify(self._heap)

    def ready_count(self) -> int:
        return len(self._heap)

    def take(self) -> Task | None:
        return heapq.heappop(self._heap)[2] if self._heap else None

    def at_pause(self, task: Task, demote: bool) -> Task:
        self._step += 1
        if demote or self._step in self._changes:
            self._lowest -= 1.0
            task.priority = self._lowest
        if not self._heap or -self._heap[0][0] <= task.priority:
            return task
        self.ready(task)
        return heapq.heappop(self._heap)[2]


class Choices:
    """Follows a schedule, and then whoever ran before, or else the lowest number.

    `decisions` tells, for each moment at which more than one task could go on, which ones and what they are about
    to do.  A task that is asleep is not chosen while another one is ready.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._ready: dict[int, Task] = {}
        self._asleep: dict[int, str] = {}
        self._demoted: dict[int, int] = {}
        self._step = 0
        self._of_files: dict[int, set[str]] = {}  # what each task did to files
        self._decisions: list[Decision] = []

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All of them, once the run is over, with what is known only then: whose files nobody else touched."""
        private = {
            (number, operation)
            for number, operations in self._of_files.items()
            for operation in operations
            if all(
                are_independent(operation, its)
                for other, theirs in self._of_files.items()
                if other != number
                for its in theirs
            )
        }
        return tuple(
            msgspec.structs.replace(decision, is_private=True)
            if (decision.chosen, decision.operations[decision.ready.index(decision.chosen)]) in private
            else decision
            for decision in self._decisions
        )

    def added(self, task: Task) -> None:
        pass

    def ready(self, task: Task) -> None:
        self._ready[task.number] = task

    def removed(self, task: Task) -> None:
        self._ready.pop(task.number, None)
        self._asleep.clear()  # a rank has ended: that concerns everybody

    def ready_count(self) -> int:
        return len(self._ready)

    def take(self) -> Task | None:
        return self._choose(-1) if self._ready else None

    def at_pause(self, task: Task, demote: bool) -> Task:
        self._step += 1
        if demote:
            self._demoted[task.number] = self._step
        self._ready[task.number] = task
        return self._choose(task.number)

    def _choose(self, current: int) -> Task:
        numbers = sorted(self._ready)
        operations = {number: _named(self._ready[number].operation) for number in numbers}
        chosen = numbers[0]
        if len(numbers) > 1 or chosen in self._asleep:
            chosen = self._decide(numbers, operations, current)
        about = operations[chosen]
        if about.startswith(FILE + SEPARATOR):
            self._of_files.setdefault(chosen, set()).add(about)
        self._asleep = {n: o for n, o in self._asleep.items() if n != chosen and are_independent(o, about)}
        self._demoted.pop(chosen, None)
        task = self._ready.pop(chosen)
        task.is_due = False
        return task

    def _decide(self, numbers: list[int], operations: dict[int, str], current: int) -> int:
        place, choices = len(self._decisions), self._schedule.choices
        if place == len(choices) - 1:
            self._asleep = dict(self._schedule.asleep)
        awake = [number for number in numbers if number not in self._asleep]
        candidates = awake or numbers
        if place < len(choices) and choices[place] in self._ready:
            chosen = choices[place]
        elif due := [number for number in candidates if self._ready[number].is_due]:
            chosen = due[0]
        elif current in candidates and current not in self._demoted:
            chosen = current
        else:
            chosen = min(candidates, key=lambda number: (self._demoted.get(number, 0), number))
        self._decisions.append(
            Decision(
                tuple(numbers),
                tuple(operations.values()),
                chosen,
                tuple(number for number in numbers if number in self._asleep),
                not awake,
            )
        )
        return chosen


def _named(operation: Any) -> str:
    """What a task is about to do, as text that is the same in every run; "" where that concerns nobody else."""
    if operation is None:
        return ""
    return SEPARATOR.join(str(getattr(part, "label", part)) for part in operation)
