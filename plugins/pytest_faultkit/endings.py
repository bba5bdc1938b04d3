"""How ranks ended, as a test must account for it: an error that nobody sees is no pass.

An exception that leaves a rank's part ends it, and every assertion behind it is dead, also where a fault explains
the exception and every promise was kept.  So somebody has to say that it is meant: the marker, with
``faults(..., raises=...)``, or the test, by asking the run what became of it.  What counts as asking: ``outcomes``,
``violations``, ``verdict``, ``story()``, ``raise_for_violations()``, ``seconds_to_know``, and for the attempts
without a fault ``attempts_after``.  What does not: ``fired``, ``events``, ``output``, ``readbacks``, the `repr`.

Guarantees: `unmet` says what the marker's `raises` asks for and a run did not do.  `Endings` collects the runs of
a test, and says of the first that ended badly on a rank, as no fault planned it, while nobody asked.  It holds the
runs no longer than the test does.  Not covered: whether the test judged rightly what it asked for; exceptions of
threads that the function started.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import _pytest.outcomes

from faultkit.checks import analyse
from faultkit.checks.liveness import describe_death
from faultkit.checks.wording import name_error, name_ranks
from faultkit.runs.outcomes import Untransportable
from faultkit.worlds import Died, Hung, Raised, Returned, Run

if TYPE_CHECKING:
    from pytest_faultkit.markers import Settings

__all__ = ["Endings", "is_meant", "is_of_pytest", "unmet"]

WAITING_MAX = 64
BY_OUTCOMES = frozenset({"outcomes", "violations"})
BY_ATTEMPTS = frozenset({"attempts_after", "violations"})
NEVER_RUN = ("coroutine", "generator", "async_generator")
TO_ASK = "run.raise_for_violations(), run.verdict, run.outcomes or run.story()"
TO_ASK_AFTER = "run.attempts_after, run.raise_for_violations() or run.verdict"
OR_MARK = ", or mark the test with faults(..., raises=...) where the plan is meant to end it so"


def is_of_pytest(outcome: Raised, name: str) -> bool:
    """Whether it is pytest's own exception of that name: ``Failed``, ``Skipped``."""
    return outcome.type_name == name and outcome.error.module in ("builtins", "_pytest.outcomes")


def is_meant(outcome: Raised, types: tuple[type[BaseException], ...]) -> bool:
    """Whether a rank ended with one of `types`.  An assertion that failed is never meant.

    Of an exception that cannot travel only the name is known, not the classes that it comes from.
    """
    error = outcome.exception
    if isinstance(error, AssertionError | _pytest.outcomes.OutcomeException) or is_of_pytest(
        outcome, "Failed"
    ):
        return False
    if error is not None and isinstance(error, types):
        return True
    named = (outcome.error.module, outcome.error.type_name)
    return any(named == (one.__module__, one.__qualname__) for one in types)


def unmet(run: Run, settings: Settings) -> str:
    """What `run` lacks of the marker's `raises`: the ranks that came to their end; empty where it lacks nothing.

    Asked is every rank that no fault ended or stopped, where a fault fired at all.
    """
    if not settings.must_raise or run.plan != settings.plan or not run.fired:
        return ""
    returned = [rank for rank, outcome in run.outcomes.items() if isinstance(outcome, Returned)]
    if not returned:
        return ""
    names = " or ".join(one.__name__ for one in settings.raises)
    return (
        f"{name_ranks(returned)} DID NOT RAISE {names}, which the marker faults(..., raises=...) says that every "
        "rank raises"
    )


class Endings:
    """The runs of one test that ended badly on a rank, until somebody has asked for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: list[tuple[set[str], frozenset[str], str]] = []  # what was asked, what it takes, evidence
        self._failed: list[str] = []

    def add(self, run: Run, function: Any) -> None:
        """`run` is over and is about to be handed out."""
        if any(run.asked is asked for asked, _, _ in self._open):
            return
        if lack := unmet(run, self._settings):
            self._failed.append(lack)
        bad = _bad_ends(run, self._settings)
        after = _bad_ends_after(run)
        run.asked.clear()
        name = getattr(function, "__qualname__", type(function).__name__)
        under = f"under {str(run.plan)!r} " if run.plan else ""
        for evidence, takes, how in (
            (bad, BY_OUTCOMES, TO_ASK + OR_MARK * bool(run.plan)),
            (after, BY_ATTEMPTS, TO_ASK_AFTER),
        ):
            if evidence:
                told = (
                    f"{under}{evidence} in {name}\n"
                    f"(what stands behind that point never ran; ask the run what became of it, by {how})"
                )
                self._open.append((run.asked, takes, told))
        if len(self._open) > WAITING_MAX:
            self._open = [one for one in self._open if not one[0] & one[1]]

    def unseen(self) -> str:
        """Why the test must not pass; empty where it may.  Says each run once."""
        found = [evidence for asked, takes, evidence in self._open if not asked & takes]
        failed, self._failed, self._open = self._failed, [], []
        if failed:
            return failed[0]
        if not found:
            return ""
        more = f" (and so did {len(found) - 1} more)" if len(found) > 1 else ""
        return f"nobody looked at a run that went wrong{more}: {found[0]}"


def _bad_ends(run: Run, settings: Settings) -> str:
    """How ranks ended that neither returned nor were ended by a fault; empty where there are none."""
    outcomes = {rank: outcome for rank, outcome in run.outcomes.items() if not isinstance(outcome, Returned)}
    told: dict[str, list[int]] = {}
    for rank, outcome in run.outcomes.items():
        value = getattr(outcome, "value", None) if isinstance(outcome, Returned) else None
        if isinstance(value, Untransportable) and value.type_name in NEVER_RUN:
            kind = value.type_name
            told.setdefault(f"returned a {kind} that nobody ran, so that nothing was done", []).append(rank)
    if outcomes:
        lost_ranks = analyse(run).lost_ranks
        under_the_plan = bool(run.plan) and run.plan == settings.plan
        for rank, outcome in outcomes.items():
            if isinstance(outcome, Raised):
                if not (under_the_plan and is_meant(outcome, settings.raises)):
                    told.setdefault(f"raised {name_error(outcome.error)}", []).append(rank)
            elif rank not in lost_ranks and not (isinstance(outcome, Died) and outcome.by):
                told.setdefault(_end_of(outcome), []).append(rank)
    return "; ".join(f"{name_ranks(ranks)} of {run.world_size} {end}" for end, ranks in told.items())


def _bad_ends_after(run: Run) -> str:
    told: dict[str, list[int]] = {}
    for rank, attempts in run.attempts_after.items():
        for number, outcome in enumerate(attempts, 1):
            if not isinstance(outcome, Returned):
                end = f"{_end_of(outcome)} in attempt {number} after the plan"
                told.setdefault(end, []).append(rank)
    return "; ".join(f"{name_ranks(ranks)} {end}" for end, ranks in told.items())


def _end_of(outcome: Any) -> str:
    if isinstance(outcome, Died):
        return describe_death(outcome)
    return "hung" if isinstance(outcome, Hung) else f"raised {name_error(outcome.error)}"
