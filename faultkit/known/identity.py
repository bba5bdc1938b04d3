"""`Identity`: which violation it is, as a value that is the same in every run and on every machine.

An identity says what is broken (check, verdict), where (the point and the action that fired, and the innermost function
of the engine or of the user's code), and who suffers it, as a role.  Guarantees: no rank number, line number, count,
seed, time, process number, address or temporary path is in one, and whatever made it, two are equal where all fields
are; `identity_of` takes these out of what it is given.  A campaign that makes violations makes their identities by
`identity_of`, those of runs by `faultkit.known.of_runs`.

Not covered: telling two mistakes apart that break the same promise at the same place for the same ranks; which
checkpointer it was (`faultkit.known.entries` has that beside the identity).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cached_property

import msgspec

from faultkit.checks.verdict import Verdict

__all__ = ["FIELDS", "Identity", "file_name", "identity_of", "severity_of"]

DIGEST_BYTES = 5
SLUG_CHARACTERS_MAX = 60
FIELDS = ("check", "verdict", "point", "action", "thread", "where", "roles")
# Words of campaigns that judge loads, worst first, at the verdict of a run that does the same harm.
_AS_VERDICT = {
    "MIX": Verdict.SILENT_WRONG,
    "GARBAGE": Verdict.SILENT_WRONG,
    "WRONG": Verdict.SILENT_WRONG,
    "OLD": Verdict.LOST_WORK,
    "ABSENT": Verdict.LOST_WORK,
    "ERROR": Verdict.LOST_WORK,
    "NEW": Verdict.LOST_WORK,
}
# what `tempfile` draws, and the crate of that name
_TEMPORARY = re.compile(r"(?<![A-Za-z0-9])tmp(?:[a-z0-9_]{8}|[A-Za-z0-9]{6})(?![A-Za-z0-9_])")
_DRAWN = re.compile(r"(?<![A-Za-z0-9])[0-9a-f]{8}[0-9a-f-]*(?![A-Za-z0-9])|\d+")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


class Identity(msgspec.Struct, frozen=True, kw_only=True, order=True, dict=True):
    """`check` names the promise, or the campaign where that is ``crash``, ``damage`` or ``history``.

    `verdict` is its word.  `point` and `action` are what fired, each once, with `` + `` between several; `thread` is
    where, in a rank (``helper``, ``child``, or empty for its main thread).  `where` is the function, with its module.
    `roles` says who suffers it: ``all``, ``the failed``, ``the others``, ``the coordinator`` and so on.
    """

    check: str
    verdict: str
    point: str = ""
    action: str = ""
    thread: str = ""
    where: str = ""
    roles: str = ""

    @cached_property
    def digest(self) -> str:
        """Ten hexadecimal digits that tell it from others."""
        fields = "\0".join(getattr(self, name) for name in FIELDS)
        return hashlib.blake2b(fields.encode("utf-8", "replace"), digest_size=DIGEST_BYTES).hexdigest()

    @cached_property
    def slug(self) -> str:
        """What a person reads: ``hung-writer.reset-raise``."""
        parts = [self.verdict, self.point or self.where.rpartition(".")[2], self.action.partition("(")[0]]
        text = re.sub(r"[^\w.]+", "-", "-".join(part for part in parts if part).lower())
        return text[:SLUG_CHARACTERS_MAX].strip("-.")

    @property
    def told(self) -> str:
        """Its fields in words: ``liveness, of the others, in torch.distributed.checkpoint.utils.gather_object``."""
        parts = [
            self.check,
            f"of {self.roles}" if self.roles else "",
            f"in {self.where}" if self.where else "",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def place(self) -> tuple[str, ...]:
        """What another violation at the same place shares with it, whatever became of that."""
        campaign = self.check if self.check in ("crash", "damage", "history") else "run"
        return (campaign, self.point, self.action, self.thread)

    @property
    def severity(self) -> int:
        """0 for the worst, as of `Verdict`."""
        return severity_of(self.verdict)

    def to_builtins(self) -> dict[str, str]:
        """For JSON: ``{"id", "name", "check", "verdict", ...}``, without empty fields."""
        fields = {name: getattr(self, name) for name in FIELDS if getattr(self, name)}
        return {"id": self.digest, "name": self.slug, **fields}

    def __str__(self) -> str:
        return f"{self.digest} {self.slug}"


def severity_of(verdict: str) -> int:
    """How bad `verdict` is, 0 for the worst; a word that nobody knows is as bad as the worst."""
    known = _AS_VERDICT.get(verdict) or next((one for one in Verdict if one == verdict), None)
    return known.severity if known is not None else 0


def identity_of(
    check: str,
    verdict: str,
    *,
    points: Iterable[str] = (),
    actions: Iterable[str] = (),
    thread: str = "",
    where: Iterable[str] = (),
    roles: str = "",
) -> Identity:
    """The identity of a violation of whatever campaign.

    Args:
        check: the promise, or the name of the campaign.
        verdict: its word.
        points: what fired, or where it was cut, or what was damaged; names of files by `file_name`.
        actions: what happened there, as plans have it; seconds, sizes and texts are taken out.
        thread: in which thread or process of the rank, empty for the main one.
        where: functions, with their modules (`faultkit.known.functions`).
        roles: who suffers it.
    """
    return Identity(
        check=check,
        verdict=str(verdict),
        point=_joined(points),
        action=_joined(map(_without_amounts, actions)),
        thread=thread,
        where=_joined(where),
        roles=roles,
    )


def file_name(path: str) -> str:
    """The last part of `path`, each number and each name that is drawn anew as ``*``."""
    name = path.rstrip("/").rpartition("/")[2]
    return _DRAWN.sub("*", _TEMPORARY.sub("tmp*", _ADDRESS.sub("*", name)))


def _joined(parts: Iterable[str]) -> str:
    return " + ".join(sorted({_ADDRESS.sub("*", part) for part in parts if part}))


_ARGUMENTS = re.compile(r"^([\w]+)\((.*)\)$", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_][\w.:]*$")
_KEEPS_NUMBERS = ("status",)  # of which the number says what happens


def _without_amounts(action: str) -> str:
    """``raise(OSError, ENOSPC)`` as it is, ``raise(ValueError, "disk 3")`` as ``raise(ValueError)``, ``delay(0.1)`` as
    ``delay``."""
    match = _ARGUMENTS.match(action)
    if match is None or match[1] in _KEEPS_NUMBERS:
        return action
    words = [word.strip() for word in _split(match[2])]
    kept = [word for word in words if _WORD.match(word)]
    return f"{match[1]}({', '.join(kept)})" if kept else match[1]


def _split(text: str) -> list[str]:
    """Arguments between commas; one of text, in quotes, stays whole."""
    return re.findall(r'(?:"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|\([^)]*\)|[^,"\'(])+', text)
