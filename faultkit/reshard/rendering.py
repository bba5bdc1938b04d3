"""What a campaign found, as lines and as JSON, with the command that brings each problem back."""

from __future__ import annotations

import shlex
from typing import Any

from faultkit.checks.wording import clip, wrapped
from faultkit.reshard.campaign import Findings, Found
from faultkit.reshard.ranks import ONE_PROCESS, READ
from faultkit.reshard.states import written

__all__ = ["as_json", "as_text", "replay_of"]

KIND = "warm"  # of the command, where it is not told
REFUSED_SHOWN = 5
ERROR_CHARACTERS = 40  # by which errors are told apart
IN_DOUBLE_QUOTES = set('"$`\\!')  # what a shell would look at


def replay_of(findings: Findings, found: Found) -> str:
    """The command line that runs the smallest case again."""
    case = found.case
    words = ["faultkit", "reshard", findings.checkpointer, "--save-on", str(case.save_on)]
    words += ["--load-on", ",".join(map(str, case.load_on or (case.save_on,)))]
    if findings.kind != KIND:
        words += ["--kind", findings.kind]
    return f"{shlex.join(words)} --state {_quoted(written(case.state))}"


def as_text(findings: Findings) -> str:
    """All of it, the worst first."""
    lines = []
    for found in sorted(findings.found, key=lambda one: one.problem.verdict.severity):
        lines.append(f"{found.problem.verdict}: {found.problem.verdict.meaning}")
        lines.append(wrapped(found.problem.evidence))
        if found.also:
            lines.append(wrapped(f"the same: {_seen_by(found.also)}"))
        lines.append(f"  state: {written(found.case.state)}")
        lines.append(f"  replay: {replay_of(findings, found)}")
        lines.append("")
    counts = ", ".join(f"{word} {count}" for word, count in sorted(findings.totals.items()))
    lines.append(f"{findings.checkpointer}: saved on {_ranks(findings.save_on)}, {_views(findings)}")
    total = sum(findings.totals.values())
    lines.append(
        f"{total} {'state' if total == 1 else 'states'}: {counts or 'none'}; {findings.seconds:.1f} s"
    )
    if findings.refused:
        lines.append("the save refused, so that nothing follows:")
        by_error: dict[str, list[str]] = {}
        for what, why in findings.refused.items():
            by_error.setdefault(why[:ERROR_CHARACTERS], []).append(what)
        for whats in list(by_error.values())[:REFUSED_SHOWN]:
            lines.append(wrapped(f"{clip(', '.join(whats), 200)}: {findings.refused[whats[0]]}"))
        if len(by_error) > REFUSED_SHOWN:
            lines.append(f"  and {len(by_error) - REFUSED_SHOWN} more errors")
    if findings.not_drawn:
        lines.append(
            wrapped(f"not drawn, since nothing came back of it: {', '.join(findings.not_drawn)}", "")
        )
    if not findings.is_complete:
        lines.append("NOT complete: the budget ran out, or it was interrupted")
    return "\n".join(lines)


def as_json(findings: Findings) -> dict[str, Any]:
    """One object."""
    from faultkit.torch_versions import torch_version

    return {
        "checkpointer": findings.checkpointer,
        "torch": torch_version(),
        "save_on": findings.save_on,
        "load_on": list(findings.load_on),
        "seed": findings.seed,
        "readers": [view for view in findings.views if isinstance(view, str)],
        "verdict": str(findings.verdict),
        "totals": findings.totals,
        "complete": findings.is_complete,
        "refused": [{"what": what, "error": why} for what, why in findings.refused.items()],
        "not_drawn": list(findings.not_drawn),
        "violations": [
            {
                "check": "same",
                "verdict": str(found.problem.verdict),
                "view": found.problem.view,
                "also": list(found.also),
                "kind": found.problem.kind,
                "evidence": found.problem.evidence,
                "identity": found.problem.identity.to_builtins(),
                "save_on": found.case.save_on,
                "load_on": list(found.case.load_on),
                "state": written(found.case.state),
                "replay": replay_of(findings, found),
            }
            for found in findings.found
        ],
        **({"known": findings.sorted.to_builtins()} if findings.sorted is not None else {}),
        "seconds": round(findings.seconds, 3),
    }


def _views(findings: Findings) -> str:
    return _seen_by(findings.views) or "loaded nowhere"


def _seen_by(views: tuple[str | int, ...]) -> str:
    """``"loaded on 1, 3 ranks, by one process, read by files"``."""
    sizes = [view for view in views if isinstance(view, int)]
    told = [f"loaded on {', '.join(map(str, sizes))} {'rank' if sizes == [1] else 'ranks'}"] if sizes else []
    if ONE_PROCESS in views:
        told.append("by one process" if sizes else "loaded by one process")
    names = ["its own `read`" if view == READ else view for view in views if view != ONE_PROCESS]
    readers = [name for name in names if isinstance(name, str)]
    if readers:
        told.append(f"read by {', '.join(readers)}")
    return ", ".join(told)


def _quoted(text: str) -> str:
    return shlex.quote(text) if IN_DOUBLE_QUOTES & {*text} else f'"{text}"'


def _ranks(count: int) -> str:
    return "1 rank" if count == 1 else f"{count} ranks"
