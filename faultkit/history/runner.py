"""Runs the steps of one history on real ranks and files, and follows them with the model.

Guarantees: after each step the model says what the next restart may come back to; a step that breaks a promise
gives a finding, after which the history is over.  A step that cannot come where it stands is a ValueError
before anything runs.  Not covered: choosing steps, and telling the story.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.rank_call import RankCall
from faultkit.checks import Verdict
from faultkit.checks.wording import clip, name_ranks
from faultkit.history.judge import (
    Finding,
    Words,
    judge_restart,
    name_version,
    random_of_another,
    unprovoked,
)
from faultkit.history.model import Model, Refusal, Version, acknowledge, attempt, disturb, settle
from faultkit.history.ranks import prune, restart, save, save_and_prune, saves_in_flight
from faultkit.history.steps import KEEPING, Step
from faultkit.runs.outcomes import Died, ErrorRecord, Outcome, Raised, Returned
from faultkit.runs.run import Run
from faultkit.worlds.pool import WorldPool

__all__ = ["HistoryRunner", "Rules", "StepResult"]


class Rules(msgspec.Struct, frozen=True):
    """What holds for a whole history: when a restart may refuse, whether a plan may find nothing to break."""

    refusal: Refusal = Refusal.WITHOUT_CHECKPOINT
    may_not_fire: bool = False
    words: Words = Words()


class StepResult(msgspec.Struct, frozen=True):
    """A step that was run, what it came to in words, and the model before it."""

    step: Step
    words: str
    model: Model


class HistoryRunner:
    """One job, from its start on.  `close` removes its folder."""

    def __init__(
        self, checkpointer: Checkpointer, pool: WorldPool, rules: Rules, folder: Path | None = None
    ) -> None:
        self.checkpointer, self.pool, self.rules = checkpointer, pool, rules
        self.folder = pool.folder() if folder is None else folder
        self._is_own = folder is None
        self._served = checkpointer.served(pool.served())
        self.model = Model()
        self.versions: list[Version] = []
        self.told: list[StepResult] = []
        self.finding: Finding | None = None
        self.world_size = 0
        self.step = 0
        self.is_up = False
        self._is_pruned = False
        self._random: dict[int, dict[int, dict[str, str]]] = {}  # by save and rank, the random states it had

    @property
    def is_disturbed(self) -> bool:
        """Whether a restart is worth most now: a save has failed since the last one that was acknowledged, or steps
        were pruned since the last restart."""
        return self.model.is_disturbed or self._is_pruned

    @property
    def verdict(self) -> Verdict:
        """The word for the history so far."""
        return self.finding.verdict if self.finding is not None else Verdict.HELD

    def close(self) -> None:
        if self._is_own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def perform(self, step: Step) -> Finding | None:
        """Run one step.  Raises ValueError for one that cannot come here, HarnessError as `World.run` does."""
        self._require(step)
        before = self.model
        words = self._actions()[step.word](step)
        self.told.append(StepResult(step, words, before))
        return self.finding

    def _actions(self) -> dict[str, Callable[[Step], str]]:
        return {
            "start": self._start,
            "save": self._save,
            "overwrite": self._save,
            "restart": self._restart,
            "prune": self._prune,
            "save_and_prune": self._save_and_prune,
            "saves_in_flight": self._saves_in_flight,
        }

    def _require(self, step: Step) -> None:
        rule = ""
        if self.finding is not None:
            rule = "after a promise was broken the history is over"
        elif step.word == "start":
            rule = "a job starts only once; it restarts" if self.told else ""
        elif step.word == "restart":
            rule = self._rule_of_restart(step.number)
        elif not self.is_up:
            rule = "the job has ended; it has to restart first"
        elif step.word == "overwrite" and not self.step:
            rule = "there is no step yet that could be saved again"
        elif step.word in KEEPING and self.checkpointer.prune is None:
            rule = f"manager {str(self.checkpointer)!r} has no function prune"
        elif step.word in ("save_and_prune", "saves_in_flight") and not self.checkpointer.is_async:
            rule = f"manager {str(self.checkpointer)!r} does not save asynchronously"
        if rule:
            raise ValueError(
                f"step {len(self.told) + 1} of the history, {step.value()!r}, cannot be run: {rule}"
            )
        step.plan.validate_for(step.number if step.word == "restart" else self.world_size or step.number)

    def _rule_of_restart(self, world_size: int) -> str:
        if not self.told:
            return "a job has to start first"
        if not self.checkpointer.reshards and world_size != self.world_size:
            who = f"checkpointer {str(self.checkpointer)!r}"
            return f"what {who} saved is loaded by as many ranks (restart on {self.world_size})"
        return ""

    # -- the steps -------------------------------------------------------------------------------

    def _start(self, step: Step) -> str:
        self.world_size, self.is_up = step.number, True
        return f"the job starts on {_ranks(step.number)} in an empty folder"

    def _save(self, step: Step) -> str:
        if step.word == "save":
            self.step += 1
        version = Version(self.step, len(self.versions) + 1)
        self.versions.append(version)
        run = self._run(save, version, step=step)
        self._random[version.number] = {
            rank: one.value for rank, one in run.outcomes.items() if isinstance(one, Returned)
        }
        return self._saved(step, version, run)

    def _save_and_prune(self, step: Step) -> str:
        self.step += 1
        version = Version(self.step, len(self.versions) + 1)
        self.versions.append(version)
        self._is_pruned = True
        told = self._saved(step, version, self._run(save_and_prune, version, step.number, step=step))
        return f"{told}; meanwhile all but the newest {step.number} are pruned"

    def _saves_in_flight(self, step: Step) -> str:
        versions = tuple(
            Version(self.step + place, len(self.versions) + place) for place in range(1, step.number + 1)
        )
        self.step += step.number
        self.versions += versions
        run = self._run(saves_in_flight, versions, step=step)
        ends = {rank: one.value for rank, one in run.outcomes.items() if isinstance(one, Returned)}
        failed: dict[Version, tuple[int, str]] = {}  # on which rank first, and with what
        for place, version in enumerate(versions):
            wrong = [(rank, told[place]) for rank, told in sorted(ends.items()) if told[place]]
            if wrong:
                failed[version] = wrong[0]
            is_well = _all_returned(run) and not wrong
            self.model = (acknowledge if is_well else attempt)(self.model, version)
        self.is_up = _all_alive(run)
        if not run.fired:
            self.finding = unprovoked("saves in flight", run.outcomes) or self._inert(step)
            for version, (rank, error) in failed.items():
                sentence = (
                    f"rank {rank} raised in save {version.number}, in which no fault happened: {clip(error)}"
                )
                self.finding = self.finding or Finding(Verdict.UNUSABLE, sentence)
        under = f" while {clip(step.plan, 400)}" if step.plan else ""
        told = ", ".join(f"step {version.step} (save {version.number})" for version in versions)
        what = f"begun one after the other, and then waited for, are saved{under}: {told}"
        if not _all_returned(run):
            return f"{what}; {_ends(run.outcomes)}: none is acknowledged{'' if self.is_up else '; the job has ended'}"
        if not failed:
            return f"{what}; each returned on every rank, so they are acknowledged"
        errors = "; ".join(f"save {one.number} failed on rank {rank}, {clip(told, 100)}"
                           for one, (rank, told) in failed.items())  # fmt: skip
        return (
            f"{what}; {errors}: {'none' if len(failed) == len(versions) else 'only the others'} acknowledged"
        )

    def _saved(self, step: Step, version: Version, run: Run) -> str:
        is_acknowledged = _all_returned(run)
        self.model = (acknowledge if is_acknowledged else attempt)(self.model, version)
        self.is_up = _all_alive(run)
        if not run.fired:
            self.finding = unprovoked(f"save {version.number}", run.outcomes) or self._inert(step)
        again = " once more" if step.word == "overwrite" else ""
        under = f" while {clip(step.plan, 400)}" if step.plan else ""
        what = f"step {version.step} is saved{again}{under}: that is save {version.number}"
        if is_acknowledged:
            return f"{what}; every rank returned, so it is acknowledged"
        ended = "" if self.is_up else "; the job has ended"
        return f"{what}; {_ends(run.outcomes)}: it is not acknowledged{ended}"

    def _prune(self, step: Step) -> str:
        run = self._run(prune, step.number, step=step)
        self._is_pruned = True
        if not run.fired:
            self.finding = unprovoked("prune", run.outcomes)
        self.is_up = _all_alive(run)
        under = f" while {clip(step.plan, 400)}" if step.plan else ""
        what = f"all but the newest {step.number} are pruned{under}"
        if not _all_returned(run):
            self.model = disturb(self.model)
            return f"{what}; {_ends(run.outcomes)}" + ("" if self.is_up else "; the job has ended")
        return f"{what}; every rank returned"

    def _restart(self, step: Step) -> str:
        self.world_size, self._is_pruned = step.number, False
        run = self._run(restart, tuple(version.number for version in self.versions), step=step)
        judged = judge_restart(
            self.model,
            self.rules.refusal,
            run.outcomes,
            self.versions,
            is_excused=bool(run.fired),
            words=self.rules.words,
        )
        self.finding = judged.finding
        if judged.is_settled and judged.version is not None:
            held = self._random.get(judged.version.number, {})
            self.finding = self.finding or random_of_another(run.outcomes, held, judged.version)
        under = f" while {clip(step.plan, 400)}" if step.plan else ""
        what = f"the job restarts on {_ranks(step.number)}{under}"
        if self.finding is not None:
            return f"{what}; {self.rules.words.load}: {_came(run.outcomes)}"
        if judged.is_settled:
            if judged.version is not None and not run.fired:
                self.finding = self._inert(step)
            self.model = settle(self.model, judged.version)
            self.step, self.is_up = judged.version.step if judged.version else 0, True
            return f"{what} and comes back to {name_version(judged.version)}"
        if run.fired:
            self.is_up = False
            return f"{what}; {_ends(run.outcomes)}: the job has ended"
        self.step, self.is_up = 0, True
        if self.model.acknowledged is None:
            return f"{what}; {self.rules.words.load} refused, as it may: the job begins anew"
        self.model = Model()
        self._empty()
        return f"{what}; {self.rules.words.load} refused, as it may: the folder is emptied and the job begins anew"

    # -- inside ----------------------------------------------------------------------------------

    def _run(self, function: Any, *arguments: Any, step: Step) -> Run:
        world = self.pool.world(self.world_size)
        call = RankCall(function, self._served)
        return world.run(call, str(self.folder), *arguments, plan=step.plan, may_not_fire=True)

    def _inert(self, step: Step) -> Finding | None:
        if not step.plan or self.rules.may_not_fire:
            return None
        return Finding(
            Verdict.INERT,
            f"no fault of {clip(step.plan, 400)!r} fired, so the step proves nothing; name points that "
            f"manager {str(self.checkpointer)!r} comes by, or pass may_not_fire=True",
        )

    def _empty(self) -> None:
        for path in list(self.folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _all_returned(run: Run) -> bool:
    return all(isinstance(outcome, Returned) for outcome in run.outcomes.values())


def _all_alive(run: Run) -> bool:
    return all(isinstance(outcome, Returned | Raised) for outcome in run.outcomes.values())


def _ranks(count: int) -> str:
    return "1 rank" if count == 1 else f"{count} ranks"


def _ends(outcomes: dict[int, Outcome]) -> str:
    by_end: dict[str, list[int]] = {}
    for rank, outcome in sorted(outcomes.items()):
        by_end.setdefault(_end(outcome), []).append(rank)
    return ", ".join(f"{name_ranks(ranks)} {end}" for end, ranks in by_end.items())


def _end(outcome: Outcome) -> str:
    if isinstance(outcome, Returned):
        return "returned"
    if isinstance(outcome, Raised):
        return f"raised {_named(outcome.error)}"
    if isinstance(outcome, Died):
        return f"died of {outcome.signal}" if outcome.signal else f"exited with code {outcome.exitcode}"
    return "hung"


def _named(error: ErrorRecord) -> str:
    """An error in few words: what failed stands in the plan."""
    if error.failures:
        return f"{error.type_name} naming {name_ranks(error.failures)}"
    return f"{error.type_name}: {clip(error.message, 60)}" if error.message else error.type_name


def _came(outcomes: dict[int, Outcome]) -> str:
    by_end: dict[str, list[int]] = {}
    for rank, outcome in sorted(outcomes.items()):
        if isinstance(outcome, Returned):
            step = outcome.value.step
            end = f"returned {f'step {step}' if isinstance(step, int) else step}"
        else:
            end = _end(outcome)
        by_end.setdefault(end, []).append(rank)
    return ", ".join(f"{name_ranks(ranks)} {end}" for end, ranks in by_end.items())
