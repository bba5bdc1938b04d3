"""The page of what a job left, in the explorer of every campaign: what was read, and what each plan made of it.

The matrix has what each rank of the job shows in its first row, and below it what the same rank showed under each plan;
each plan leads to its timeline with that of the evidence beside it.  Guarantees: secrets are masked, and every fact has
its file and line.  Not covered: how it looks and behaves (`faultkit.report.explorer`).
"""

from __future__ import annotations

from faultkit.checks import Verdict
from faultkit.checks.wording import name_ranks
from faultkit.evidence.rendering import evidence_lines, masked, replay_of, test_of
from faultkit.evidence.trying import Reproduction, Tried
from faultkit.evidence.values import RankEvidence
from faultkit.messages import shortened
from faultkit.report import explorer
from faultkit.report.explorer import Cell, Explorer, Item, Matrix, Row
from faultkit.runs.timeline import Lane, Timeline

__all__ = ["as_html"]

LEFT = "left"
ORIGINS_MAX = 3
RANKS_MAX = 600
TEXT_MAX = 200


def as_html(found: Reproduction) -> str:
    """The page as text."""
    told = found.told
    left = _timeline(found)
    items = (_of_evidence(found, left), *(_of_plan(found, one, left) for one in found.tried))
    columns = {place: f"rank {rank}" for place, rank in enumerate(found.mapping.ranks)}
    rows = (
        Row("what was left", "", {name: Cell((0,)) for name in columns.values()}),
        *(
            Row(
                masked(one.plan),
                f"likeness {one.likeness:.2f}",
                {columns[place]: Cell((number,)) for place in range(len(one.shown)) if place in columns},
            )
            for number, one in enumerate(found.tried, 1)
        ),
    )
    best = found.best
    facts = (
        masked(f"the same picture: {best.plan}") if best else "no plan gives the picture that was left",
        f"tried on {found.scenario}, {found.mapping.size} ranks",
    )
    return explorer.as_html(
        Explorer(
            title=f"What {len(told.evidence.ranks)} of {told.evidence.world_size} ranks left",
            what="plans",
            items=items,
            meanings={LEFT: "what the job left"}
            | {one.verdict: Verdict(one.verdict).meaning for one in found.tried},
            facts=facts,
            notes=tuple(f"next time: {masked(advice)}" for advice in told.advice),
            matrix=Matrix("what was tried", tuple(columns.values()), rows, "nothing is known of this rank"),
            tables=(_facts(found),),
        )
    )


def _of_evidence(found: Reproduction, left: Timeline | None) -> Item:
    told = found.told
    return Item(
        word=LEFT,
        name="what the job left",
        at=tuple(f"rank {rank}" for rank in told.suspects),
        evidence=(("where it began", masked(told.why)),) if told.why else (),
        facts=(
            ("files", f"{len(told.evidence.files)}"),
            ("missing", name_ranks(told.missing) if told.missing else ""),
        ),
        story=masked("\n".join(evidence_lines(told))),
        timeline=left,
    )


def _of_plan(found: Reproduction, one: Tried, left: Timeline | None) -> Item:
    differs = name_ranks(one.differs) if one.differs else ""
    return Item(
        word=one.verdict,
        name=masked(one.plan),
        place="the best" if one is found.best else "another",
        facts=(
            ("likeness", f"{one.likeness:.2f} of 1"),
            ("showed something else", differs),
            ("why", masked(one.why)),
            ("ranks", f"{found.mapping.size}, {one.kind}"),
        ),
        story=masked(one.story),
        ways=(
            ("in a shell", replay_of(found, one)),
            ("as a test", "\n".join(line.removeprefix("    ") for line in test_of(found, one))),
        ),
        timeline=one.timeline,
        beside=left,
    )


def _timeline(found: Reproduction) -> Timeline | None:
    """The ranks of the job that those of the runs stand for, as lanes; times from the first that is told."""
    ranks = found.told.evidence.ranks
    own = [ranks[rank] for rank in found.mapping.ranks if rank in ranks]
    times = [at for one in own for at in _times(one)]
    zero = min(times, default=0.0)
    lanes = tuple(
        Lane(
            one.rank,
            marks=tuple(
                (round(at - zero, 6), "error", text[:TEXT_MAX])
                for at, text in zip(_times(one), _texts(one), strict=True)
            ),
            end=one.kind,
            waiting=one.waiting[:TEXT_MAX],
        )
        for one in own
    )
    return Timeline(round(max(times, default=zero) - zero, 6), lanes) if lanes else None


def _times(one: RankEvidence) -> list[float]:
    return [part.seconds for part in (one.error, one.exit) if part is not None and part.seconds is not None]


def _texts(one: RankEvidence) -> list[str]:
    texts = []
    if one.error is not None and one.error.seconds is not None:
        texts.append(masked(f"{one.error.type_name}: {shortened(one.error.message, TEXT_MAX)}"))
    if one.exit is not None and one.exit.seconds is not None:
        texts.append(one.exit.signal or f"exit status {one.exit.exitcode}")
    return texts


def _facts(found: Reproduction) -> tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]]:
    rows = []
    for rank, one in sorted(found.told.evidence.ranks.items())[:RANKS_MAX]:
        what = f"{one.error.type_name}: {shortened(one.error.message, TEXT_MAX)}" if one.error else ""
        if not what and one.exit is not None:
            what = one.exit.signal or f"exit status {one.exit.exitcode}"
        where = ", ".join(str(origin) for origin in one.origins[:ORIGINS_MAX])
        rows.append((str(rank), one.kind, masked(what), masked(one.waiting), one.step, masked(where)))
    return "What each rank left", ("rank", "kind", "what", "waits in", "step", "where it stands"), tuple(rows)
