"""What an exploration did and found, as frozen values: `Exploration` with its `ModelCounts` and `Finding`s.

`text` is plain text for a terminal, `to_json` for programs.  Not covered: exploring (`faultkit.crash.exploration`), and
pages (`faultkit.report`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from faultkit.crash.enumeration.state import State
from faultkit.known.entries import Entry, Example, Occurrence
from faultkit.known.identity import Identity
from faultkit.known.sorting import Sorted, sort
from faultkit.torch_versions import torch_version

if TYPE_CHECKING:
    from faultkit.recording import Recording

__all__ = ["Exploration", "Finding", "ModelCounts"]


NOTES_TOLD_MAX = 5  # of what the recorder saw and could not put into an operation


class ModelCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How far one model was explored.

    explored: states enumerated; distinct: different trees among them; judged: distinct trees with a verdict;
    loaded: loads that really ran for them; audited: trees judged without a load that were then loaded after all,
    to see whether pruning says the truth; skipped: distinct trees not judged for lack of time;
    complete: whether all within `bound` (words) was judged; verdicts: word -> number of distinct trees.
    """

    model: str
    bound: str
    explored: int
    distinct: int
    judged: int
    loaded: int
    audited: int
    skipped: int
    complete: bool
    verdicts: dict[str, int]
    seconds: float


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One cause, told by its smallest example.

    models: where it was seen.  phase: "during" or "returned".  verdict: what the load made of it, and `allowed`
    what would have been fine.  at: the crash in words ("power cut after save returned").  lost: what was lost in
    words, fewest possible.  where: source lines that issued the lost operations (or, where nothing was lost, the
    last one done), innermost first.  detail: the error's type and message, or which elements are wrong.
    state_count: how many distinct trees belong to this cause.  state: the smallest example itself.  identity: what is
    the same of it in every recording.
    """

    models: tuple[str, ...]
    phase: str
    verdict: str
    allowed: tuple[str, ...]
    at: str
    lost: tuple[str, ...]
    where: tuple[str, ...]
    detail: str
    state_count: int
    state: State
    identity: Identity

    @property
    def evidence(self) -> str:
        """Its words, by which it is recognised."""
        return "; ".join(part for part in (self.at, *self.lost, self.detail) if part)

    def text(self) -> str:
        """The finding in a few lines."""
        allowed = " or ".join(self.allowed)
        lines = [f"{self.verdict} (allowed: {allowed}) {self.at}"]
        lines += [f"  lost: {text}" for text in self.lost]
        if self.detail:
            lines.append(f"  the load: {self.detail}")
        lines += [f"  {line}" for line in self.where]
        lines.append(f"  {counted(self.state_count, 'state')}, models {', '.join(self.models)}")
        lines.append(f"  {self.identity}")
        return "\n".join(lines)


class Exploration(msgspec.Struct, frozen=True, kw_only=True):
    """What an exploration did and found.

    counts: one for each model.  interrupted: whether it was ended before it was through; models that it had not
    come to have no counts then.  findings: worst first.  recording: what was explored (build a state again with
    `crash.rebuild(recording, finding.state.witness)`).  sorted: what is known of the findings, None where nobody asked.
    """

    scenario: str
    world: int
    seed: int
    counts: tuple[ModelCounts, ...]
    findings: tuple[Finding, ...]
    recording: Recording
    seconds: float
    interrupted: bool = False
    sorted: Sorted | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether nothing was found, but for what is known."""
        return not self.findings or (self.sorted is not None and self.sorted.held)

    @property
    def occurrences(self) -> tuple[Occurrence, ...]:
        """Every finding, as it is looked up among known ones."""
        example = Example(
            campaign="crash",
            scenario=self.scenario,
            world=self.world,
            seed=self.seed,
            models=tuple(count.model for count in self.counts),
        )
        return tuple(
            Occurrence(
                identity=finding.identity, evidence=finding.evidence, scenario=self.scenario, example=example
            )
            for finding in self.findings
        )

    def sorted_by(self, entries: Sequence[Entry]) -> Exploration:
        """The same, with what `entries` know of it."""
        complete = {count.model for count in self.counts if count.complete and not self.interrupted}

        def covers(_: Entry, example: Example) -> bool:
            same = (example.campaign, example.scenario, example.world) == ("crash", self.scenario, self.world)
            return same and complete >= set(example.models)

        return msgspec.structs.replace(self, sorted=sort(self.occurrences, entries, covers=covers))

    def known_as(self, finding: Finding) -> str:
        """The name under which `finding` is known; empty where it is not."""
        return (
            self.sorted.names.get((finding.identity, finding.evidence), "") if self.sorted is not None else ""
        )

    @property
    def explored(self) -> int:
        return sum(count.explored for count in self.counts)

    @property
    def distinct(self) -> int:
        return sum(count.distinct for count in self.counts)

    @property
    def loaded(self) -> int:
        return sum(count.loaded for count in self.counts)

    @property
    def skipped(self) -> int:
        return sum(count.skipped for count in self.counts)

    @property
    def complete(self) -> bool:
        return not self.interrupted and all(count.complete for count in self.counts)

    @property
    def totals(self) -> dict[str, int]:
        """Each verdict with the number of states that came to it; a state of several models counts in each."""
        found = Counter[str]()
        for count in self.counts:
            found.update(count.verdicts)
        return dict(sorted(found.items()))

    @property
    def summary(self) -> str:
        """The counts in a line: "2 violations; 30 states of 2 models judged: 12 ERROR, 18 NEW"."""
        found = counted(len(self.findings), "violation") if self.findings else "no violation"
        words = ", ".join(f"{number} {word}" for word, number in self.totals.items())
        told = (
            f"{found}; {counted(sum(self.totals.values()), 'state')} of "
            f"{counted(len(self.counts), 'model')} judged{f': {words}' if words else ''}"
        )
        return told + (f"; {self.skipped} left out" if self.skipped else "")

    def text(self) -> str:
        """The whole story for a terminal."""
        lines = [f"{self.scenario} on {counted(self.world, 'rank')}, seed {self.seed}"]
        for count in self.counts:
            verdicts = ", ".join(f"{number} {word}" for word, number in sorted(count.verdicts.items()))
            state = "complete" if count.complete else f"NOT complete, {count.skipped} skipped"
            lines.append(
                f"  {count.model}: {count.explored} explored, {count.distinct} distinct, {count.loaded} loaded, "
                f"{state} within {count.bound}; {verdicts or 'none judged'}; {count.seconds:.1f} s"
            )
        lines += [f"  noted: {note}" for note in self.recording.notes[:NOTES_TOLD_MAX]]
        if self.interrupted:
            lines.append("  interrupted: this is what was found by then")
        for finding in self.findings:
            if not self.known_as(finding):
                lines += ["", finding.text()]
        return "\n".join([*lines, "", self.summary])

    def to_json(self) -> str:
        """Counts and findings as one object; a finding's tree as its witness, without contents."""
        # json, as in every report: msgspec refuses names of files that are no UTF-8
        findings = []
        for finding in self.findings:
            told = msgspec.structs.asdict(finding)
            told.pop("state")
            told["witness"] = finding.state.witness
            told["key"] = finding.identity.digest
            told["identity"] = finding.identity.to_builtins()
            if self.sorted is not None:
                told["known"] = self.known_as(finding) or None
            findings.append(told)
        return json.dumps(
            {
                "scenario": self.scenario,
                "torch": torch_version(),
                "backend": self.recording.backend,
                "world": self.world,
                "seed": self.seed,
                "explored": self.explored,
                "distinct": self.distinct,
                "loaded": self.loaded,
                "skipped": self.skipped,
                "complete": self.complete,
                "interrupted": self.interrupted,
                "seconds": round(self.seconds, 3),
                "totals": self.totals,
                "models": msgspec.to_builtins(self.counts),
                "findings": msgspec.to_builtins(findings),
                **({"known": self.sorted.to_builtins()} if self.sorted is not None else {}),
            }
        )

    def raise_for_violations(self) -> None:
        """Raises AssertionError that tells the whole story, where anything was found."""
        __tracebackhide__ = True  # pytest then shows the line that asked
        if self.findings:
            error = AssertionError(f"{self.summary}\n{self.text()}")
            error.__dict__["faultkit_found"] = self
            raise error

    raise_for_findings = raise_for_violations  # the earlier name


def counted(number: int, word: str) -> str:
    """``3 ranks``, ``1 rank``."""
    return f"{number} {word}{'' if number == 1 else 's'}"
