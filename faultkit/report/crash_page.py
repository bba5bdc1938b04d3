"""The page of an exploration of crashes, in the explorer of every campaign: each violation with its drawing.

A drawing has a lane for each rank, with its operations in the one order of the recording: which were on the disk when
the crash struck, which had been done and are lost, which came later.  Not covered: the bytes of a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultkit.report import explorer
from faultkit.report.explorer import Drawing, Explorer, Item
from faultkit.report.made import Made, made_here

if TYPE_CHECKING:
    from faultkit.crash import Exploration
    from faultkit.crash.results import Finding
    from faultkit.recording import Recording

__all__ = ["as_html"]

MEANINGS = {
    "NEW": "the load gives what the save wrote, where that is too early",
    "OLD": "the load gives the checkpoint before, although the save had returned",
    "ABSENT": "the load says that there is no checkpoint",
    "ERROR": "the load raises",
    "MIX": "the load gives new and old together, without an error",
    "GARBAGE": "the load gives what nobody saved, without an error",
    "HUNG": "the load did not come back",
    "DIED": "the process that loaded died",
}
DRAWN_MAX = 800  # operations; of a longer recording those around the crash
NOT_DRAWN = frozenset({"thread", "close"})


def as_html(found: Exploration, *, replay: str = "", made: Made | None = None) -> str:
    """The page as text.

    Args:
        replay: The command that makes a violation again, where it is kept in a file.
        made: Of what the page was made; by default of this process.
    """
    ranks = "1 rank" if found.world == 1 else f"{found.world} ranks"
    made = made or made_here()
    counts = tuple(
        (
            count.model,
            *map(str, (count.explored, count.distinct, count.loaded, count.skipped)),
            "yes" if count.complete else "no",
            ", ".join(f"{number} {word}" for word, number in sorted(count.verdicts.items())),
            count.bound,
        )
        for count in found.counts
    )
    heads = ("model", "explored", "distinct", "loaded", "skipped", "complete", "verdicts", "within")
    again = replay or f"{made.command} --keep violations.crash"
    return explorer.as_html(
        Explorer(
            title=f"Crashes of {found.scenario}",
            what="violations",
            items=tuple(_item(found, finding, again) for finding in found.findings),
            meanings=MEANINGS,
            facts=(f"{ranks}, seed {found.seed}, {found.seconds:.1f} s; {found.summary}",),
            notes=tuple(f"noted: {note}" for note in found.recording.notes),
            tables=(("What was explored", heads, counts),),
            made=made,
        )
    )


def _item(found: Exploration, finding: Finding, again: str) -> Item:
    files = ", ".join(
        f"{path} ({'directory' if content is None else f'{len(content)} bytes'})"
        for path, content in sorted(finding.state.tree.items())
    )
    return Item(
        word=finding.verdict,
        name=finding.at,
        known=found.known_as(finding),
        evidence=(
            *(("lost", lost) for lost in finding.lost),
            *((("the load", finding.detail),) if finding.detail else ()),
        ),
        facts=(
            ("allowed", " or ".join(finding.allowed)),
            ("states", str(finding.state_count)),
            ("models", ", ".join(finding.models)),
            ("identity", str(finding.identity)),
            ("files of this state", files),
        ),
        story="\n".join(finding.where),
        ways=(("make this state again, to load it and look at it", again),),
        drawing=_drawing(found.recording, finding),
    )


def _drawing(recording: Recording, finding: Finding) -> Drawing:
    witness = finding.state.witness
    done, lost = set(witness.done), {index for index, _, _ in witness.lost}
    last = max(done, default=-1)
    shown = [operation for operation in recording.operations if operation.kind not in NOT_DRAWN]
    if len(shown) > DRAWN_MAX:
        after = next((at for at, operation in enumerate(shown) if operation.index > last), len(shown))
        start = max(0, min(after - DRAWN_MAX // 2, len(shown) - DRAWN_MAX))
        shown = shown[start : start + DRAWN_MAX]
    lanes: dict[str, list[tuple[str, str, int]]] = {}
    for at, operation in enumerate(shown):
        if operation.index in lost:
            fate = "lost"
        else:
            fate = "kept" if operation.index in done or operation.index < last else "later"
        lanes.setdefault(str(operation.rank), []).append((recording.describe(operation), fate, at))
    return Drawing(
        dict(sorted(lanes.items(), key=lambda lane: int(lane[0]))),
        finding.at,
        finding.detail or finding.verdict,
    )
