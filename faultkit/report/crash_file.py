"""Violations in a file: what is needed to make each one's state again, look at it, and load it.

Promises.  Reading a file runs no code and unpickles nothing.  Each finding has its whole tree.  Left out: the
recording; which operations were lost is told in words only.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.scripts.exploring import Job

if TYPE_CHECKING:
    from faultkit.crash import Exploration, Scenario, State

__all__ = ["Kept", "KeptFinding", "keep", "read"]

MARK = b"faultkit crash 1\n"
Tree = dict[str, bytes | str | None]


class KeptFinding(msgspec.Struct, frozen=True):
    """One finding: its words and its tree."""

    text: str
    verdict: str
    allowed: tuple[str, ...]
    key: str
    tree: dict[str, Any]

    def state(self) -> State:
        from faultkit.crash import State, Witness

        return State(key=self.key, witness=Witness(model="kept", done=()), tree=_tree(self.tree))


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds.  One of `scenario` (its text) and `job` says how to load; `new_tree` and `old_tree` are the
    finished save and the checkpoint before it, by which a load is judged."""

    findings: tuple[KeptFinding, ...]
    new_tree: dict[str, Any]
    old_tree: dict[str, Any] | None = None
    scenario: str = ""
    job: Job | None = None
    complete: tuple[tuple[str, int, dict[str, bytes]], ...] = ()
    finished: str = ""
    timeout_seconds: float = 60.0

    @property
    def new(self) -> Tree:
        return _tree(self.new_tree)

    @property
    def old(self) -> Tree | None:
        return _tree(self.old_tree) if self.old_tree is not None else None

    def to_scenario(self) -> Scenario:
        """How to load.  Raises ScenarioError where the scenario is not found."""
        from faultkit import scripts
        from faultkit.scripts.resuming import Resumption

        if self.job is None:
            return scenario_of_text(self.scenario)
        job = self.job
        resumption = Resumption(
            argv=tuple(job.resume or job.train),
            ranks=job.ranks,
            results=job.results,
            values=job.values,
            step=job.step,
            checkpoints=job.checkpoints,
            complete=self.complete,
            finished=self.finished,
            in_process=job.in_process,
        )
        return scripts.scenario_of(job, resumption)


def scenario_of_text(text: str) -> Scenario:
    """The scenario that `text` names: one of `faultkit.crash`, or one of a sweep, or a function that saves.

    Raises ScenarioError where there is none, which is a ValueError.
    """
    from faultkit import crash, scenarios
    from faultkit.crash.scenario import ScenarioError
    from faultkit.scenarios.crashing import crash_scenario

    if not text:
        raise ScenarioError("the scenario was a function without a name to find it by")
    try:
        return crash.get(text)
    except ScenarioError:
        if ":" not in text.partition(",")[0]:
            raise
        found = scenarios.get(text)  # which says best what is wrong with module:attribute
        if isinstance(found.function, crash.Scenario):
            raise
        return crash_scenario(found)


def keep(found: Exploration, *, scenario: str = "", job: Job | None = None) -> bytes:
    """The findings of `found` as the content of a file."""
    from faultkit.files import tree_after

    recording = found.recording
    entries, links = tree_after(recording)
    is_fresh = all("OLD" not in finding.allowed for finding in found.findings) and not recording.before
    complete, finished = _of_job(job, entries) if job is not None else ((), "")
    kept = Kept(
        findings=tuple(
            KeptFinding(
                finding.text(), finding.verdict, finding.allowed, finding.state.key, _told(finding.state.tree)
            )
            for finding in found.findings
        ),
        new_tree=_told({**entries, **links}),
        old_tree=None if is_fresh else _told({**recording.before, **recording.links}),
        scenario=scenario,
        job=job,
        complete=complete,
        finished=finished,
    )
    return MARK + zlib.compress(msgspec.msgpack.encode(kept))


def read(content: bytes) -> Kept:
    """What a file holds.  Raises ValueError where that is something else."""
    if not content.startswith(MARK):
        raise ValueError(f"it does not start with {MARK.decode().strip()!r}")
    try:
        return msgspec.msgpack.decode(zlib.decompress(content[len(MARK) :]), type=Kept)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


def _told(tree: Any) -> dict[str, Any]:
    # msgpack cannot tell the bytes of a file from the text of a link by itself once the type is `Any`
    return {
        path: None
        if content is None
        else ["link", content.encode()]
        if isinstance(content, str)
        else ["file", content]
        for path, content in tree.items()
    }


def _tree(told: dict[str, Any]) -> Tree:
    found: Tree = {}
    for path, content in told.items():
        if content is None:
            found[path] = None
        else:
            found[path] = bytes(content[1]).decode() if content[0] == "link" else bytes(content[1])
    return found


def _of_job(job: Job, entries: Any) -> tuple[tuple[tuple[str, int, dict[str, bytes]], ...], str]:
    """What `record_job` would say of the finished directory."""
    import tempfile
    from pathlib import Path

    from faultkit.crash.materialise import write_tree
    from faultkit.scripts import exploring
    from faultkit.scripts.resuming import digest_of

    with tempfile.TemporaryDirectory() as root:
        write_tree(dict(entries), Path(root) / "root")
        directory = Path(root) / "root" / exploring.DIRECTORY
        complete = exploring._complete(job, directory) if job.checkpoints else ()
        return complete, digest_of(directory)
