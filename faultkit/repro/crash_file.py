"""Violations in a file: what is needed to make each one's state again, look at it, and load it.

Guarantees: reading a file runs no code and unpickles nothing, whoever wrote it: what it holds is checked as a whole, so
that every tree of it can be made within the directory that it is made in, and what loading it would run is told before
(`would_run`).  Each finding has its whole tree.  Not covered: the recording; which operations were lost is told in
words only.
"""

from __future__ import annotations

import os
import shlex
import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.crash.enumeration.materialise import require_inside
from faultkit.crash.scripts.exploring import Job, resumption_of
from faultkit.messages import printable, seen
from faultkit.recording.kept_limits import require_few_entries, require_few_places
from faultkit.scenario_text import CRASH

if TYPE_CHECKING:
    from faultkit.crash import Exploration, State
    from faultkit.scenarios.scenario import Scenario

__all__ = ["Kept", "KeptFinding", "keep", "read", "read_file", "replay_command"]

MARK = b"faultkit crash 1\n"
CONTENT_BYTES_MAX = (
    4 << 30
)  # of all trees together: a few hundred bytes of a file can say that they are petabytes
PIECE_BYTES = 1 << 16
TIMEOUT_SECONDS_MAX = 3600.0
VERDICTS = frozenset({"NEW", "OLD", "ABSENT", "ERROR", "MIX", "GARBAGE", "HUNG", "DIED"})
Tree = dict[str, bytes | str | None]


class KeptFinding(msgspec.Struct, frozen=True):
    """One finding: its words and its tree."""

    text: str
    verdict: str
    allowed: tuple[str, ...]
    key: str
    tree: dict[str, Any]
    acknowledged: int = 0

    def state(self) -> State:
        from faultkit.crash import State, Witness

        witness = Witness(model="kept", done=(), acknowledged=self.acknowledged)
        return State(key=self.key, witness=witness, tree=_tree(self.tree))


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

    @property
    def would_run(self) -> str:
        """What a load would run that the file names, in words; "" where that is faultkit's own alone."""
        if self.job is not None:
            command = printable(shlex.join(self.job.resume or self.job.train))
            return "the command " + command.replace("\n", "\\n")
        return f"the load of the scenario {self.scenario!r}" if _is_named(self.scenario) else ""

    def to_scenario(self) -> Scenario:
        """How to load; imports the module that the scenario is in.

        A load of faultkit's own unpickles nothing of these files but the engine's own classes.
        Raises ScenarioError where the scenario is not found.
        """
        from faultkit import scripts
        from faultkit.crash import get
        from faultkit.crash.loading.engine_classes import EngineClassesOnly
        from faultkit.exceptions import ScenarioError

        if self.job is None:
            if not self.scenario:
                raise ScenarioError("the scenario was a function without a name to find it by")
            scenario = get(self.scenario)
            if self.would_run or scenario.read is None:
                return scenario
            return msgspec.structs.replace(scenario, read=EngineClassesOnly(scenario.read))
        job = self.job
        return scripts.scenario_of(job, resumption_of(job, self.complete, self.finished))


def keep(found: Exploration, *, scenario: str = "", job: Job | None = None) -> bytes:
    """The findings of `found` as the content of a file."""
    from faultkit.recording import tree_after

    recording = found.recording
    entries, links = tree_after(recording)
    is_fresh = all("OLD" not in finding.allowed for finding in found.findings) and (
        job is not None or not recording.before  # a command is always given a new directory
    )
    complete, finished = _of_job(job, entries) if job is not None else ((), "")
    kept = Kept(
        findings=tuple(
            KeptFinding(
                text=printable(finding.text()),
                verdict=finding.verdict,
                allowed=finding.allowed,
                key=finding.state.key,
                tree=_told(finding.state.tree),
                acknowledged=finding.state.witness.acknowledged,
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


def replay_command(path: str, *, scenario: str = "", job: Job | None = None) -> str:
    """The command that makes a violation of the file at `path` again and loads it; its writer trusts it."""
    trust = " --trust" if job is not None or _is_named(scenario) else ""
    return f"faultkit crash --replay {shlex.quote(path)} --into DIR{trust}"


def _is_named(scenario: str) -> bool:
    """Whether there is a scenario, and it is none of faultkit's own."""
    return bool(scenario) and not CRASH.has(scenario)


def read(content: bytes | bytearray) -> Kept:
    """What a file holds.  Raises ValueError where that is something else."""
    if not content.startswith(MARK):
        raise ValueError(f"it does not start with {MARK.decode().strip()!r}")
    packed = memoryview(content)[len(MARK) :]
    try:
        _require_unpackable(packed)
        told = zlib.decompress(packed)
        require_few_entries(told)
        kept = msgspec.msgpack.decode(told, type=Kept)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None
    _require_sound(kept)
    return kept


def _require_unpackable(packed: memoryview) -> None:
    """Raises ValueError where it unpacks to too much, or ends early, and zlib.error; keeps nothing of it."""
    unpacking, total = zlib.decompressobj(), 0
    for start in range(0, len(packed), PIECE_BYTES):
        waiting = bytes(packed[start : start + PIECE_BYTES])
        while waiting and not unpacking.eof:
            total += len(unpacking.decompress(waiting, PIECE_BYTES))
            waiting = unpacking.unconsumed_tail
            if total > CONTENT_BYTES_MAX:
                raise ValueError(f"it must hold at most {CONTENT_BYTES_MAX >> 30} GiB")
    if not unpacking.eof:
        raise ValueError("it ends early")


def read_file(path: str | os.PathLike[str]) -> Kept:
    """What the file at `path` holds; one that begins otherwise is read no further.  Raises OSError, and as `read`."""
    with open(path, "rb") as stream:
        head = stream.read(len(MARK))
        content = bytearray(head)
        while head == MARK and (
            piece := stream.read(PIECE_BYTES)
        ):  # as much at once as it may have is taken at once
            content += piece
            if len(content) > CONTENT_BYTES_MAX:
                raise ValueError(f"it must hold at most {CONTENT_BYTES_MAX >> 30} GiB")
    return read(content)


def _require_sound(kept: Kept) -> None:
    if not kept.findings:
        raise ValueError("it must hold a violation (got none)")
    for finding in kept.findings:
        _require_tree(finding.tree)
        for verdict in (finding.verdict, *finding.allowed):
            if verdict not in VERDICTS:
                raise ValueError(
                    f"a verdict must be one of {', '.join(sorted(VERDICTS))} (got {seen(verdict)})"
                )
    _require_tree(kept.new_tree)
    if kept.old_tree is not None:
        _require_tree(kept.old_tree)
    if not 0 < kept.timeout_seconds <= TIMEOUT_SECONDS_MAX:
        raise ValueError(
            f"timeout_seconds must be above 0 and at most {TIMEOUT_SECONDS_MAX:g} (got {kept.timeout_seconds:g})"
        )
    if kept.job is not None and kept.scenario:
        raise ValueError("it must say how to load by a scenario or a command (got both)")
    if "\0" in kept.scenario or (kept.job is not None and any("\0" in part for part in kept.job.words)):
        raise ValueError("a scenario or a command must be text without zero bytes")


def _require_tree(told: dict[str, Any]) -> None:
    for path, content in told.items():
        match content:
            case None | ["file", bytes()]:
                pass
            case ["link", bytes(text)] if text and b"\0" not in text:
                try:
                    text.decode()
                except UnicodeDecodeError:
                    raise ValueError(f"the link {seen(path)} must lead to a name in UTF-8") from None
            case _:
                raise ValueError(f"{seen(path)} must be a file, a link or a directory (got {seen(content)})")
    require_few_places(told)
    require_inside(told)


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

    from faultkit.crash.enumeration.materialise import write_tree
    from faultkit.crash.scripts import exploring
    from faultkit.crash.scripts.resume import digest_of

    with tempfile.TemporaryDirectory() as root:
        write_tree(dict(entries), Path(root) / "root")
        directory = Path(root) / "root" / exploring.DIRECTORY
        complete = exploring.complete_checkpoints(job, directory) if job.checkpoints else ()
        return complete, digest_of(directory)
