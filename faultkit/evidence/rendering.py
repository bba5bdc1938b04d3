"""What was read and tried, for a terminal and as JSON; secrets masked, control characters left to the caller.

The JSON is `{"ranks": {rank: {"kind", "type", "message", "waiting"}}, "suspects": [rank], "first": {"rank", "step",
"type", "message"}, "candidates": [{"plan", "likeness", "verdict", "why"}], "best": plan or null}`; the numbers are
those of the job.  Not covered: the page (`faultkit.report.evidence_page`).
"""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any

from faultkit.checks.wording import name_ranks
from faultkit.evidence.telling import Told
from faultkit.evidence.trying import Reproduction, Tried
from faultkit.messages import shortened

__all__ = ["as_json", "as_text", "evidence_lines", "masked", "replay_of", "test_of"]

WIDTH = 110
MESSAGE_CHARACTERS_MAX = 2_000
TOLD_MAX = 8
_SECRETS = re.compile(
    r"(?i)((?:api[_-]?key|token|secret|password|passwd|authorization|bearer|aws_[a-z_]*key[a-z_]*)\W{1,4})([^\s,;'\"]{6,400})"
    r"|\b(AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,255}|hf_[A-Za-z0-9]{20,255}|sk-[A-Za-z0-9_-]{20,255}|xox[abprs]-[\w-]{10,255})"
)


def masked(text: str) -> str:
    """`text` without what looks like a key or a token."""
    return _SECRETS.sub(lambda match: f"{match[1] or ''}***", text)


def as_json(found: Reproduction) -> str:
    """All of it as one object."""
    told = found.told
    first = told.first
    made: dict[str, Any] = {
        "ranks": {
            str(rank): {
                "kind": one.kind,
                "type": one.error.type_name if one.error else (one.exit.signal or None if one.exit else None),
                "message": masked(one.error.message[:MESSAGE_CHARACTERS_MAX]) if one.error else None,
                "waiting": one.waiting or None,
                "step": one.step or None,
                "from": [str(origin) for origin in one.origins],
            }
            for rank, one in told.evidence.ranks.items()
        },
        "world": told.evidence.world_size,
        "missing": list(told.missing),
        "waits": {str(rank): list(members) for rank, members in told.waits.items()},
        "suspects": list(told.suspects),
        "first": first
        and {
            "rank": first.rank,
            "step": first.step or None,
            "type": first.type_name or None,
            "message": masked(first.message[:MESSAGE_CHARACTERS_MAX]),
            "why": first.why,
            "from": first.origin,
        },
        "scenario": found.scenario,
        "mapping": {str(place): rank for place, rank in enumerate(found.mapping.ranks)},
        "candidates": [
            {
                "plan": one.plan,
                "likeness": one.likeness,
                "verdict": one.verdict,
                "why": masked(one.why),
                "kind": one.kind,
                "differs": list(one.differs),
                "replay": replay_of(found, one),
            }
            for one in found.tried
        ],
        "best": found.best.plan if found.best else None,
        "lines": told.evidence.lines,
        "lines_understood": told.evidence.lines_understood,
        "unread": [list(pair) for pair in told.evidence.unread],
    }
    return json.dumps(made, indent=1) + "\n"


def as_text(found: Reproduction) -> str:
    """The story for a terminal; ends without a newline."""
    told = found.told
    lines = [*evidence_lines(told), ""]
    if not found.tried:
        return "\n".join([*lines, "no plan follows from this that the work comes by"])
    lines.append(f"tried on {found.scenario}, {len(found.mapping.ranks)} ranks{_mapping(found)}:")
    for one in found.tried[:TOLD_MAX]:
        lines.append(f"  {one.likeness:.2f}  {masked(one.plan)}")
        differs = f"; {name_ranks(one.differs)} showed something else" if one.differs else ""
        lines.append(f"        {one.verdict} on {one.kind} ranks: {masked(one.why)}{differs}")
    best = found.best
    if best is None:
        return "\n".join([*lines, "", "none of these gives the picture that was left"])
    alike = [one.plan for one in found.tried[1:] if one.likeness == best.likeness]
    lines += ["", f"the picture that was left, again: {masked(best.plan)}", f"  {replay_of(found, best)}"]
    if alike:
        lines.append(f"  as well could have done it: {', '.join(masked(one) for one in alike)}")
    lines += ["", "as a test:", "", *test_of(found, best)]
    return "\n".join(lines)


def evidence_lines(told: Told) -> list[str]:
    """What was read and what follows from it, a line each; with control characters."""
    evidence = told.evidence
    lines = [
        f"{len(evidence.ranks)} of {evidence.world_size} ranks left something, in {len(evidence.files)} files"
        + (f" ({evidence.lines:,} lines, {evidence.lines_understood:,} understood)" if evidence.lines else "")
    ]
    for text, ranks in told.groups:
        lines.append(f"  {name_ranks(ranks)}: {text}")
    if told.missing:
        lines.append(f"  {name_ranks(told.missing)}: nothing")
    for rank, members in list(told.waits.items())[:TOLD_MAX]:
        lines.append(f"  rank {rank} waits for {name_ranks(members)}")
    first = told.first
    if first is None:
        lines.append("where it began does not follow from this")
    else:
        lines.append(f"it began on {name_ranks(told.suspects)}: {told.why}")
        what = ": ".join(part for part in (first.type_name, shortened(first.message, 300)) if part)
        where = f" in step {first.step!r}" if first.step else ""
        lines += textwrap.wrap(
            masked(f"{what}{where} ({first.origin})"), WIDTH, initial_indent="  ", subsequent_indent="  "
        )
    lines += [f"  next time: {advice}" for advice in told.advice]
    return lines


def _mapping(found: Reproduction) -> str:
    ranks = found.mapping.ranks
    if ranks == tuple(range(found.told.evidence.world_size)):
        return ""
    return f" for ranks {', '.join(map(str, ranks))} of {found.told.evidence.world_size}"


def replay_of(found: Reproduction, one: Tried) -> str:
    """The command that runs `one` again."""
    from faultkit.runs.replay_command import replay_line

    return masked(
        replay_line(
            one.small_plan,
            scenario=found.scenario,
            world_size=found.mapping.size,
            kind=one.kind,
            launcher="none",
        )
    )


def test_of(found: Reproduction, one: Tried) -> list[str]:
    """The lines of a test that runs `one`, indented."""
    return [
        "    import pytest",
        "    from faultkit import scenarios",
        "",
        f"    @pytest.mark.world({found.mapping.size})",
        f"    @pytest.mark.faults({masked(one.small_plan)!r})",
        "    def test_every_rank_is_told(world, plan, tmp_path):",
        f"        run = world.run(scenarios.get({found.scenario!r}).function, directory=tmp_path, plan=plan)",
        "        run.raise_for_violations()",
    ]
