"""The page of findings, made from stored report cards, in the form of an analysis: what was promised and by whom, how
it was tried, each defect with its smallest case and what upstream says, each system by version, and what does not
follow.

Guarantees: what is known of a violation is looked up when the page is made, for the version of torch on the card, so
that cards stay as they were measured.  Not covered: making the cards (`collect`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from faultkit.known.entries import SEVERITIES, Entry, Occurrence
from faultkit.known.identity import FIELDS, Identity, severity_of
from faultkit.known.reading import catalogue

HEAD = """# Findings

What [`faultkit check`](report-card.md) finds in every built-in [checkpointer](checkpointers.md), by version of torch.
This page is made by `make findings` from the cards in `docs/findings/`; nothing here is written by hand.

## What was promised, and by whom

PyTorch documents that `torch.distributed.checkpoint.save` writes what `load` reads again, on the same and on other
numbers of ranks, and that a failure of any rank is raised on all as `CheckpointException`. It does not say what a kill
or a power cut leaves, that damage is noticed, or what becomes of an older checkpoint at the same place. `torch.save`
and safetensors promise a file each; what a job does with several of them is its own.

The [promises of the report card](report-card.md) are what a job relies on, whoever made them. A checkpointer that never
promised one of them breaks it here all the same, since the job does not know. Each is put to the test with faultkit's
own checkpointers, which call the engine as its documentation shows; what they do around it (a directory for each step,
a prune that goes by `.metadata`) is what training scripts do, and a defect that lies there says so.

## How it was tried

On real ranks of one machine, CPU and gloo, small states, within a budget of seconds. "Search complete" counts the
promises of which everything within the bounds was tried.
"""
CAVEATS = """## What does not follow

* A promise that held was not broken by what was tried, no more. The budgets were small: most searches are not complete.
* Nothing was tried on GPUs, NCCL, network file systems or many machines. What crashes leave is simulated from recorded
  file operations, not made by cutting the power.
* A violation is told once for each identity. Two mistakes that break the same promise at the same place are one.
* A defect that one version shows and another does not may have been missed there; the catalogue's versions were tried
  by their own examples, one by one, and say more than the absence on a card.
"""
EVIDENCE_CHARACTERS = 600


def page(paths: Iterable[Path]) -> str:
    """The page, of cards in folders by version."""
    cards: dict[str, dict[str, dict[str, Any]]] = {}
    for path in paths:
        version = path.parent.name.removeprefix("torch-")
        cards.setdefault(version, {})[path.stem] = json.loads(path.read_text())
    versions = sorted(cards, key=Version)
    names = sorted({name for of in cards.values() for name in of})
    shown = _shown(cards, versions)
    lines = [HEAD, *_table(cards, versions, names, shown), "", *_defects(versions, shown)]
    lines += ["", "## The systems"]
    for name in names:
        lines += ["", f"### {name}", *_summary(name)]
        for version in versions:
            lines += _told(version, cards[version].get(name))
    return "\n".join([*lines, "", CAVEATS.rstrip()]) + "\n"


# -- what is known -----------------------------------------------------------------------------------------


def known_as(broken: dict[str, Any], version: str) -> Entry | None:
    """The entry of the catalogue that recognises a violation of a card on that version of torch."""
    identity = Identity(**{field: broken["identity"].get(field, "") for field in FIELDS})
    seen = Occurrence(identity=identity, evidence=broken["evidence"], scenario=broken.get("scenario", ""))
    for entry in catalogue():
        if _holds(entry, version) and any(pattern.fits(seen) for pattern in entry.patterns):
            return entry
    return None


def _holds(entry: Entry, version: str) -> bool:
    """Whether the entry is about that version of torch; of other engines a card does not say the version."""
    return entry.engine != "torch" or SpecifierSet(entry.versions).contains(version, prereleases=True)


def _shown(cards: Any, versions: list[str]) -> dict[str, dict[str, list[tuple[str, str, dict[str, Any]]]]]:
    """By the name of the entry and by version: each violation with its checkpointer and promise, smallest replay first;
    under "" what nobody has named."""
    found: dict[str, dict[str, list[tuple[str, str, dict[str, Any]]]]] = {}
    for version in versions:
        for name, card in cards[version].items():
            for promise in card.get("promises", ()):
                for broken in promise["violations"]:
                    entry = known_as(broken, version)
                    found.setdefault(entry.name if entry else "", {}).setdefault(version, []).append(
                        (name, promise["promise"], broken)
                    )
    for of in found.values():
        for several in of.values():
            several.sort(key=lambda one: (severity_of(one[2]["verdict"]), len(one[2]["replay"]), one[0]))
    return found


# -- the parts ---------------------------------------------------------------------------------------------


def _table(cards: Any, versions: list[str], names: list[str], shown: Any) -> Iterator[str]:
    yield from ("## Versions", "", f"| checkpointer | {' | '.join(f'torch {one}' for one in versions)} |")
    yield "|---|" + "---|" * len(versions)
    for name in names:
        told = [_short(cards[version].get(name)) for version in versions]
        yield f"| [`{name}`](#{name}) | {' | '.join(told)} |"
    if len(versions) > 1:
        first, last = versions[0], versions[-1]
        for words, one, other in (
            (f"gone in torch {last}", first, last),
            (f"new in torch {last}", last, first),
        ):
            only = sorted(
                entry.name
                for entry in catalogue()
                if one in shown.get(entry.name, ()) and not _holds(entry, other)
            )
            yield from ("", f"{words.capitalize()}: {', '.join(f'`{name}`' for name in only) or 'nothing'}.")


def _short(card: dict[str, Any] | None) -> str:
    if card is None:
        return "not run"
    if "cannot_run" in card:
        return "cannot run"
    broken = [one["promise"] for one in card["promises"] if one["violations"]]
    return f"{len(broken)} broken: {', '.join(broken)}" if broken else "nothing broken"


def _defects(versions: list[str], shown: Any) -> Iterator[str]:
    yield "## The defects"
    entries = [entry for entry in catalogue() if entry.name in shown]
    for entry in sorted(entries, key=lambda one: (SEVERITIES.index(one.severity), one.name)):
        of = shown[entry.name]
        yield from ("", f"### {entry.name}", "", f"{_capital(_plain(entry.title))}.", "")
        yield f"* **Harm**: {entry.severity}. **Versions**: {entry.engine} {_plain(entry.versions)}."
        for version in versions:
            if version in of:
                by = ", ".join(f"`{name}`" for name in dict.fromkeys(name for name, _, _ in of[version]))
                promises = ", ".join(f"`{one}`" for one in dict.fromkeys(one for _, one, _ in of[version]))
                yield f"* **Shown on torch {version}** by {by}; breaks {promises}."
        said = f"[{_issue(entry.issue)}]({entry.issue})" if entry.issue else "no public issue is known to us"
        yield f"* **Upstream**: {said}."
        yield f"* **What to do**: {_plain(entry.advice)}."
        _, _, smallest = of[next(version for version in versions if version in of)][0]
        yield from ("", f"Smallest case ({smallest['verdict']}): {_evidence(smallest)}", "")
        yield f"    {smallest['replay']}"
    unnamed = shown.get("", {})
    if unnamed:
        yield from ("", "### Not named yet", "")
        for version in versions:
            for name, promise, broken in unnamed.get(version, ()):
                yield f"* torch {version}, `{name}`, `{promise}`: {broken['verdict']}, {_evidence(broken)}"
                yield from ("", f"        {broken['replay']}", "")


def _summary(name: str) -> Iterator[str]:
    from faultkit.checkpointers.catalogue import BUILT_IN, find

    if BUILT_IN.has(name):
        yield from ("", f"{_capital(_plain(find(name).summary))}.")


def _told(version: str, card: dict[str, Any] | None) -> Iterator[str]:
    if card is None:
        return
    yield from ("", f"**On torch {version}**: ")
    if "cannot_run" in card:
        yield f"cannot run: {_plain(card['cannot_run'])}"
        return
    tried = [one for one in card["promises"] if one["tried"]]
    complete = sum(one["complete"] for one in tried)
    yield (
        f"{card['date']}, faultkit {card['faultkit']}, {card['world']} ranks, budget {card['budget']:g} s, "
        f"search complete for {complete} of {len(tried)} promises."
    )
    yield from ("", "| promise | verdict | by |", "|---|---|---|")
    for promise in card["promises"]:
        if promise["violations"]:
            entries = [known_as(broken, version) for broken in promise["violations"]]
            names = dict.fromkeys(
                f"[`{one.name}`](#{one.name})" if one else "not named yet" for one in entries
            )
            yield f"| `{promise['promise']}` | {promise['verdict']} | {', '.join(names)} |"
    held = [f"`{one['promise']}`" for one in card["promises"] if one["verdict"] == "HELD"]
    yield from ("", f"Held: {', '.join(held) or 'none'}.")
    untried = [one for one in card["promises"] if one["verdict"] in ("NOT_TRIED", "NOT_APPLICABLE")]
    if untried:
        yield f"Not judged: {', '.join(_untried(one) for one in untried)}."


def _untried(promise: dict[str, Any]) -> str:
    why = promise.get("why")
    return f"`{promise['promise']}`" + (f" ({_plain(why)})" if why else "")


# -- words -------------------------------------------------------------------------------------------------


def _evidence(broken: dict[str, Any]) -> str:
    text = " ".join(broken["evidence"].split())
    return _plain(text if len(text) <= EVIDENCE_CHARACTERS else f"{text[: EVIDENCE_CHARACTERS - 3]}...")


def _issue(url: str) -> str:
    return "/".join(url.split("/")[3:5]) + f"#{url.rpartition('/')[2]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plain(text: str) -> str:
    """Text without what Markdown would take for its own."""
    for mark in "\\`*_<>|[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
