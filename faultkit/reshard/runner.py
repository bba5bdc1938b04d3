"""One case: a state saved on N ranks, loaded on other numbers of ranks, and read by other readers; what differs.

Guarantees: real ranks and real files, a folder of its own for each case; ranks stay up from case to case.  A reader
that hangs or dies is told apart from the others.  Not covered: which states, and making what was found smaller
(`faultkit.reshard.campaign`).  Nothing here imports torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.rank_call import RankCall
from faultkit.checks import Verdict
from faultkit.checks.wording import clip, name_error, name_ranks, plural
from faultkit.known import Identity, identity_of
from faultkit.reshard.ranks import CHECKPOINT, ONE_PROCESS, READ, Told, load, read, save
from faultkit.reshard.states import State
from faultkit.runs.outcomes import Died, Hung, Outcome, Raised, Returned
from faultkit.worlds import World
from faultkit.worlds.pool import WorldPool

__all__ = ["Case", "CaseResult", "Problem", "Runner"]

LEAVES_NAMED = 3
PRELOADED = (
    "torch.distributed.checkpoint",
    "torch.distributed.checkpoint._fsspec_filesystem",
    "torch.distributed.tensor",
    "torch._dynamo",  # which making a mesh imports, half a second of each new rank
    "faultkit.reshard.compare",
    "faultkit.reshard.ranks",
)
RANK_VERDICTS = (
    (Hung, Verdict.HUNG, "never came back"),
    (Died, Verdict.DIED, "died"),
    (Raised, Verdict.LOST_WORK, "raised"),
)


class Case(msgspec.Struct, frozen=True):
    """A state, the ranks that save it, the numbers of ranks that load it, and the readers by name."""

    state: State
    save_on: int
    load_on: tuple[int, ...]
    readers: tuple[str, ...]


class Problem(msgspec.Struct, frozen=True):
    """A promise that a case broke.

    `view` is "save", a number of ranks that loaded, or the name of a reader; `kind` what was wrong and `trait` of what
    sort of leaf; `evidence` says it in one sentence.
    """

    verdict: Verdict
    view: str | int
    kind: str
    trait: str
    evidence: str

    @property
    def signature(self) -> tuple[str, str, str]:
        """Equal for what is taken for the same defect."""
        return "ranks" if isinstance(self.view, int) else self.view, self.kind, self.sort

    @property
    def identity(self) -> Identity:
        """What is the same of it in every run."""
        return identity_of("same", self.verdict, points=[" ".join(part for part in self.signature if part)])

    @property
    def sort(self) -> str:
        """The trait, where one defect shows in leaves of one trait: a wrong dtype or a missing leaf may be of any."""
        return self.trait if self.kind in ("values", "shape") else ""


class CaseResult(msgspec.Struct, frozen=True):
    """What a case came to.  `refused` says that the save raised on every rank; `leaves` names what was saved, and
    `views` what was compared."""

    case: Case
    problems: tuple[Problem, ...] = ()
    refused: str = ""
    leaves: tuple[str, ...] = ()
    views: tuple[str | int, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return min((one.verdict for one in self.problems), key=lambda one: one.severity, default=Verdict.HELD)


class Runner:
    """Runs cases on worlds that are kept.  A context manager.

    Raises ValueError for a kind or a timeout that is none, from `run` on what `World.run` raises.
    """

    def __init__(self, checkpointer: Checkpointer, kind: str = "warm", timeout: float = 20.0) -> None:
        modules = tuple(dict.fromkeys((*PRELOADED, *checkpointer.modules)))
        self.checkpointer, self.timeout = checkpointer, timeout
        self.pool = WorldPool(
            name="reshard", timeout=timeout, kind=kind, modules=modules, server=checkpointer.own_server
        )
        self._reading = World(1, timeout=timeout, backend="", preload=modules)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the ranks, and remove what is left.  Closing twice is fine."""
        try:
            self._reading.close()
        finally:
            self.pool.close()

    @property
    def _served(self) -> Checkpointer:
        return self.checkpointer.served(self.pool.served())

    def run(self, case: Case) -> CaseResult:
        """Save, load and read; what differs from what was given."""
        folder = self.pool.folder()
        try:
            (folder / CHECKPOINT).mkdir()
            outcomes = self._outcomes(case.save_on, save, str(folder), case.state)
            if not all(isinstance(outcome, Returned) for outcome in outcomes.values()):
                return _unsaved(case, outcomes)
            [*names] = outcomes[0].value
            problems: list[Problem] = []
            for size in case.load_on:
                loaded = self._outcomes(size, load, str(folder), case.state)
                problems += _of_a_load(case, size, loaded)
            views: list[str | int] = [*case.load_on]
            for name, outcome in self._read(str(folder), case).items():
                if isinstance(outcome, Returned) and outcome.value[name].is_other:
                    continue
                views.append(name)
                problems += _of_a_reader(case, name, outcome)
            return CaseResult(case, tuple(problems), "", tuple(names), tuple(views))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _outcomes(self, size: int, function: Any, *arguments: Any) -> dict[int, Outcome]:
        world = self.pool.world(size)
        return world.run(RankCall(function, self._served), *arguments).outcomes

    def _read(self, folder: str, case: Case) -> dict[str, Outcome]:
        if not case.readers:
            return {}
        call = RankCall(read, self._served)
        together = self._reading.run(call, folder, case.state, case.readers).outcomes[0]
        if isinstance(together, Returned):
            return dict.fromkeys(case.readers, together)
        return {
            name: self._reading.run(call, folder, case.state, (name,)).outcomes[0] for name in case.readers
        }


def _unsaved(case: Case, outcomes: Mapping[int, Outcome]) -> CaseResult:
    raised = [outcome for outcome in outcomes.values() if isinstance(outcome, Raised)]
    if len(raised) == len(outcomes):
        return CaseResult(case, refused=clip(name_error(raised[0].error), 200))
    return CaseResult(case, tuple(_of_ranks(f"the save on {_ranks(case.save_on)}", "save", outcomes)))


def _of_a_load(case: Case, size: int, outcomes: Mapping[int, Outcome]) -> Iterator[Problem]:
    what = f"{_saved(case)}, loaded on {_ranks(size)}"
    if not all(isinstance(outcome, Returned) for outcome in outcomes.values()):
        yield from _of_ranks(what, size, outcomes)
        return
    told = {rank: outcome.value for rank, outcome in outcomes.items() if isinstance(outcome, Returned)}
    nothing = [rank for rank, one in told.items() if one.differences is None]
    if nothing:
        yield Problem(
            Verdict.LOST_WORK,
            size,
            "nothing",
            "",
            f"{what}: the load came back with nothing on {name_ranks(nothing)}",
        )
    by_text: dict[Any, list[int]] = {}
    for rank, one in told.items():
        for difference in one.differences or ():
            by_text.setdefault(difference, []).append(rank)
    everywhere = len(outcomes) > 1
    yield from _differing(
        what,
        size,
        ((one, f" on {name_ranks(ranks)}" if everywhere else "") for one, ranks in by_text.items()),
    )


def _of_a_reader(case: Case, name: str, outcome: Outcome) -> Iterator[Problem]:
    how = {ONE_PROCESS: "loaded by one process", READ: "read by its own `read`"}.get(name, f"read by {name}")
    what = f"{_saved(case)}, {how}"
    if not isinstance(outcome, Returned):
        yield from _of_ranks(what, name, {0: outcome})
        return
    told: Told = outcome.value[name]
    if told.error:
        yield Problem(
            Verdict.LOST_WORK,
            name,
            f"raised {told.error.partition(':')[0]}",
            "",
            f"{what}: raised {told.error}",
        )
    elif told.differences is None:
        yield Problem(Verdict.LOST_WORK, name, "nothing", "", f"{what}: there is no checkpoint")
    else:
        yield from _differing(what, name, ((one, "") for one in told.differences))


def _differing(what: str, view: str | int, found: Iterable[tuple[Any, str]]) -> Iterator[Problem]:
    """One problem for each sort of difference, which names the first leaves."""
    sorts: dict[tuple[str, str], list[tuple[Any, str]]] = {}
    for difference, where in found:
        sorts.setdefault((difference.kind, difference.trait), []).append((difference, where))
    for (kind, trait), members in sorts.items():
        told = "; ".join(f"{one.name!r} {one.text}{where}" for one, where in members[:LEAVES_NAMED])
        more = f"; and {len(members) - LEAVES_NAMED} more" if len(members) > LEAVES_NAMED else ""
        yield Problem(Verdict.SILENT_WRONG, view, kind, trait, f"{what}: {told}{more}")


def _of_ranks(what: str, view: str | int, outcomes: Mapping[int, Outcome]) -> Iterator[Problem]:
    """The problem that not every rank returned, by who is worst off."""
    for kind, verdict, words in RANK_VERDICTS:
        ranks = [rank for rank, outcome in outcomes.items() if isinstance(outcome, kind)]
        if not ranks:
            continue
        raised = next((one for one in outcomes.values() if isinstance(one, Raised)), None)
        if kind is Raised and len(ranks) < len(outcomes):
            verdict = Verdict.PARTIAL
        sort = f"raised {raised.error.type_name}" if kind is Raised and raised is not None else words
        why = (
            ""
            if raised is None
            else f"; {plural(ranks, 'it', 'the first')} raised {clip(name_error(raised.error), 200)}"
        )
        if kind is not Raised and raised is not None:
            why = f"; another raised {clip(name_error(raised.error), 200)}"
        yield Problem(verdict, view, sort, "", f"{what}: {name_ranks(ranks)} {words}{why}")
        return


def _saved(case: Case) -> str:
    return f"saved on {_ranks(case.save_on)}"


def _ranks(count: int) -> str:
    return "1 rank" if count == 1 else f"{count} ranks"
