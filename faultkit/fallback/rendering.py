"""What restarts came to, as a table for a terminal: parts of the newest checkpoint by kinds of damage."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from faultkit.checks import Verdict
from faultkit.checks.wording import wrapped
from faultkit.fallback.judging import OUTCOMES
from faultkit.messages import columns

if TYPE_CHECKING:
    from faultkit.fallback.survey import Fallback

__all__ = ["as_text"]

WORK_WORDS = {
    "fallback": "the newest of three checkpoints is damaged, and the job restarts",
    "prune": "the newest of three checkpoints is damaged, all but one are pruned, and the job restarts",
}
VIOLATIONS_SHOWN = 12


def as_text(found: Fallback) -> str:
    """The table, what its words mean, and every violation with a damage that it follows from."""
    ranks = f"{found.world} rank{'s' * (found.world != 1)}"
    parts = [
        f"{found.checkpointer}.{found.work} on {ranks}, torch {found.torch}: {WORK_WORDS[found.work]}",
        "",
    ]
    actions = list(dict.fromkeys(case.action for case in found.cases))
    rows = [["", *actions]]
    for kind in dict.fromkeys(case.kind for case in found.cases):
        rows.append([kind, *(_cell(found, kind, action) for action in actions)])
    head, *lines = columns(rows)
    parts += [head.rstrip(), "─" * max(map(len, (head, *lines))), *(line.rstrip() for line in lines), ""]
    violations = found.violations
    for violation in violations[:VIOLATIONS_SHOWN]:
        parts.append(wrapped(f"{violation.verdict} ({violation.check}): {violation.evidence}", ""))
    if len(violations) > VIOLATIONS_SHOWN:
        parts.append(f"and {len(violations) - VIOLATIONS_SHOWN} more")
    if violations:
        parts.append("")
    for word, count in sorted(found.totals.items()):
        parts.append(f"{word:<13}{count:>4}  {OUTCOMES.get(word) or Verdict(word).meaning}")
    if found.left_out:
        parts.append(f"interrupted: {found.left_out} more were not tried")
    parts.append(f"{len(found.cases)} restarts, {found.seconds:.1f} s, seed {found.seed}")
    return "\n".join(parts)


def _cell(found: Fallback, kind: str, action: str) -> str:
    counts = Counter(case.outcome for case in found.cases if (case.kind, case.action) == (kind, action))
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "·"
