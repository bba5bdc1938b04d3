"""The page of the runs of a test session, in the explorer of every campaign: what broke first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faultkit.checks import Verdict
from faultkit.report import explorer
from faultkit.report.explorer import Explorer, Item

__all__ = ["as_html"]


def as_html(
    runs: Sequence[Mapping[str, Any]], totals: Mapping[str, int], tallies: Mapping[str, Mapping[str, int]]
) -> str:
    """All runs as one page, complete in itself.

    runs: of each `verdict`, `test`, `plan`, `world`, `seconds` and `violations`.  totals: how many came to each
    verdict.  tallies: how many crash states, histories and the like came to what.
    """
    count = len(runs)
    return explorer.as_html(
        Explorer(
            title=f"{count} {'plan' if count == 1 else 'plans'}",
            what="plans",
            items=tuple(map(_item, runs)),
            meanings={word: Verdict(word).meaning for word in totals if word in list(Verdict)},
            notes=tuple(
                f"{sum(found.values())} {what.replace('_', ' ')}: "
                + ", ".join(f"{n} {word}" for word, n in found.items())
                for what, found in tallies.items()
                if found
            ),
        )
    )


def _item(run: Mapping[str, Any]) -> Item:
    plan = run["plan"]
    return Item(
        word=run["verdict"],
        name=plan,
        test=run["test"],
        seconds=run["seconds"],
        evidence=tuple((violation["check"], violation["evidence"]) for violation in run["violations"]),
        facts=(("ranks", str(run["world"])),),
        ways=(("with pytest", f"pytest '{run['test']}'"),),
    )
