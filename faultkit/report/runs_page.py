"""The page of the runs of a test session, in the explorer of every campaign: what broke first."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from faultkit.checks import Verdict
from faultkit.report import explorer
from faultkit.report.explorer import Explorer, Item
from faultkit.runs.timeline import Timeline

__all__ = ["as_html"]


MEANINGS = {
    "failed": "the test failed",
    "error": "the test could not be set up or ended",
    "passed": "the test passed",
    "skipped": "the test was not run",
}


def as_html(
    runs: Sequence[Mapping[str, Any]],
    totals: Mapping[str, int],
    tallies: Mapping[str, Mapping[str, int]],
    tests: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """All runs as one page, complete in itself.

    runs: of each `verdict`, `test`, `plan`, `world`, `seconds` and `violations`.  totals: how many came to each
    verdict.  tallies: how many crash states, histories and the like came to what.  tests: of each its `outcome`, and
    the `text` of what failed; a test that failed is an item of its own, before its runs.
    """
    count = len(runs)
    tests = tests or {}
    outcomes = Counter(told["outcome"] for told in tests.values())
    failed = [_test(name, told) for name, told in tests.items() if told["outcome"] in ("failed", "error")]
    return explorer.as_html(
        Explorer(
            title=f"{count} {'plan' if count == 1 else 'plans'}",
            what="tests and plans" if failed else "plans",
            items=(*failed, *(_item(run, tests.get(run["test"], {}).get("outcome", "")) for run in runs)),
            meanings=MEANINGS | {word: Verdict(word).meaning for word in totals if word in list(Verdict)},
            facts=tuple(
                f"{number} {'test' if number == 1 else 'tests'} {word}"
                for word, number in outcomes.most_common()
            ),
            notes=tuple(
                f"{sum(found.values())} {what.replace('_', ' ')}: "
                + ", ".join(f"{n} {word}" for word, n in found.items())
                for what, found in tallies.items()
                if found
            ),
        )
    )


def _test(name: str, told: Mapping[str, str]) -> Item:
    return Item(
        word=told["outcome"],
        name=name,
        test=name,
        evidence=tuple(("pytest", line) for line in told["text"].strip().splitlines()[-1:]),
        story=told["text"],
        ways=(("with pytest", f"pytest {shlex.quote(name)}"),),
    )


def _item(run: Mapping[str, Any], outcome: str) -> Item:
    plan, timeline = run["plan"], run.get("timeline")
    return Item(
        word=run["verdict"],
        name=plan,
        test=run["test"],
        seconds=run["seconds"],
        evidence=tuple((violation["check"], violation["evidence"]) for violation in run["violations"]),
        at=tuple(f"rank {rank}" for rank in dict.fromkeys(fired["rank"] for fired in run.get("fired", ()))),
        facts=(("ranks", f"{run['world']}, {run.get('kind', '')}".rstrip(", ")), ("the test", outcome)),
        story=run.get("story", ""),
        ways=(
            ("with pytest", f"pytest {shlex.quote(run['test'])}"),
            *(
                (
                    (
                        "the same plan",
                        f"pytest {shlex.quote(run['test'])} --faultkit-replay {shlex.quote(plan)}",
                    ),
                )
                if plan
                else ()
            ),
        ),
        timeline=msgspec.convert(timeline, Timeline) if timeline else None,
    )
