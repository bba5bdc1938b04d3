"""The page of findings, made from stored report cards: versions by checkpointers, then each violation with its case.

Not covered: making the cards (`collect`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HEAD = """# Findings

What [`faultkit check`](report-card.md) finds in every built-in [checkpointer](checkpointers.md), by version of torch.
This page is made by `make findings` from the cards in `docs/findings/`; nothing here is written by hand.

**What was promised.** By the checkpointers' own documentation, that a save which returned can be loaded again; by
[the report card](report-card.md), the promises that a job needs of whatever saves for it. An engine that never promised
one of them (a format without checksums does not promise to notice damage) breaks it here all the same, since the job
that relies on it does not know.

**How it was tried.** On real ranks of one machine, CPU and gloo, small states, within a budget of time;
"search complete" counts the promises of which everything within the bounds was tried. A promise that held was not
broken by what was tried, no more.
"""


def page(paths: Iterable[Path]) -> str:
    """The page, of cards in folders by version."""
    cards: dict[str, dict[str, dict[str, Any]]] = {}
    for path in paths:
        version = path.parent.name.removeprefix("torch-")
        cards.setdefault(version, {})[path.stem] = json.loads(path.read_text())
    versions = sorted(cards, key=_numbers)
    names = sorted({name for of in cards.values() for name in of})
    lines = [HEAD, "## Versions", "", f"| checkpointer | {' | '.join(f'torch {one}' for one in versions)} |"]
    lines.append("|---|" + "---|" * len(versions))
    for name in names:
        told = [_short(cards[version].get(name)) for version in versions]
        lines.append(f"| [`{name}`](#{name}) | {' | '.join(told)} |")
    for name in names:
        lines += ["", f"## {name}"]
        for version in versions:
            lines += _told(version, cards[version].get(name))
    return "\n".join(lines) + "\n"


def _short(card: dict[str, Any] | None) -> str:
    if card is None:
        return "not run"
    if "cannot_run" in card:
        return "cannot run"
    broken = [one["promise"] for one in card["promises"] if one["violations"]]
    return f"{len(broken)} broken: {', '.join(broken)}" if broken else "nothing broken"


def _told(version: str, card: dict[str, Any] | None) -> Iterable[str]:
    if card is None:
        return
    yield from ("", f"### On torch {version}", "")
    if "cannot_run" in card:
        yield f"Cannot run: {_plain(card['cannot_run'])}"
        return
    yield (
        f"{card['date']}, faultkit {card['faultkit']}, {card['world']} ranks, budget {card['budget']:g} s: "
        f"{_plain(card['grade'])}."
    )
    for promise in card["promises"]:
        for broken in promise["violations"]:
            known = f" Known: `{broken['known']}`." if broken["known"] else ""
            yield from (
                "",
                f"**{broken['verdict']}, `{promise['promise']}`** ({promise['sentence']}).{known}",
                _plain(broken["evidence"]),
                "",
                f"    {broken['replay']}",
            )
    untried = [one for one in card["promises"] if one["verdict"] in ("NOT_TRIED", "NOT_APPLICABLE")]
    if untried:
        yield from ("", f"Not judged: {', '.join(_untried(one) for one in untried)}.")


def _untried(promise: dict[str, Any]) -> str:
    why = promise.get("why")
    return f"`{promise['promise']}`" + (f" ({_plain(why)})" if why else "")


def _plain(text: str) -> str:
    """Text without what Markdown would take for its own."""
    for mark in "\\`*_<>|[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
