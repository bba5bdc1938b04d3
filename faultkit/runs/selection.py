"""Which promises count for a run, and what may stay behind it: chosen on command lines, in markers and scenarios.

    checks=("durable", "intact")          only these
    no_check=("leaks",)                   all but these
    allow_residue=("fsspecIO", "child process *")     what `leaks` does not tell: globs over its words
    allow_unread=("optimizer.*",)         what `unread` and `application` need not find again: globs over names
    allow_cast=("model.*",)               what may be of another dtype for `application`: globs over names

What is left out is told in every story and report: a run that held says what was not asked.  Not covered: what each
promise is (`faultkit.checks`).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

import msgspec

from faultkit.messages import shown

__all__ = ["ALL", "ALLOWANCES", "RECORDED", "Chosen"]

# checks for which ranks record what nobody else needs
RECORDED = ("application", "parity", "replicas", "settled", "snapshot", "unread")

# the fields of what is allowed, with what their globs are over
ALLOWANCES = {
    "allow_residue": "what the check leaks tells, such as 'thread fsspecIO'",
    "allow_unread": "names in a checkpoint, such as 'optimizer.*'",
    "allow_cast": "names in a checkpoint, such as 'model.*'",
}


class Chosen(msgspec.Struct, frozen=True):
    """`checks` are names of the catalogue, or checks of one's own; empty for all.  `no_check` are names.

    Raises ValueError for an unknown name, and where no check is left.
    """

    checks: tuple[Any, ...] = ()
    no_check: tuple[str, ...] = ()
    allow_residue: tuple[str, ...] = ()
    allow_unread: tuple[str, ...] = ()
    allow_cast: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not any(getattr(self, field) for field in self.__struct_fields__):
            return
        from faultkit.checks import CATALOGUE, Check, named

        for field, over in ALLOWANCES.items():
            for glob in getattr(self, field):
                if not isinstance(glob, str) or not glob:
                    raise ValueError(f"{field} must be globs over {over} (got {shown(glob)})")
        for check in (*self.checks, *self.no_check):
            if not isinstance(check, Check):
                named(check)
        if not self.names(tuple(CATALOGUE)):
            raise ValueError(f"no check is left of {', '.join(map(_name, self.checks or CATALOGUE))}")

    @classmethod
    def of(
        cls,
        checks: Iterable[Any] | str | None = None,
        no_check: Iterable[str] | str | None = None,
        allow_residue: Iterable[str] | str | None = None,
        allow_unread: Iterable[str] | str | None = None,
        allow_cast: Iterable[str] | str | None = None,
    ) -> Chosen:
        """From what people write: a text for one of them, None for nothing.  Raises ValueError."""
        given = (checks, no_check, allow_residue, allow_unread, allow_cast)
        return cls(*(_several(name, one) for name, one in zip(cls.__struct_fields__, given, strict=True)))

    def names(self, default: tuple[Any, ...]) -> tuple[Any, ...]:
        """The checks to examine by, of `default` where none were named."""
        return tuple(check for check in self.checks or default if _name(check) not in self.no_check)

    @property
    def watches(self) -> tuple[str, ...]:
        """Those of `RECORDED` that are asked."""
        return tuple(name for name in map(_name, self.names(RECORDED)) if name in RECORDED)

    def beside(self, other: Chosen) -> Chosen:
        """What both ask for: the checks of `other` count before these, and more may stay or be left out."""
        return Chosen(
            other.checks or self.checks,
            tuple(dict.fromkeys((*self.no_check, *other.no_check))),
            *(tuple(dict.fromkeys((*getattr(self, one), *getattr(other, one)))) for one in ALLOWANCES),
        )

    def allows(self, kind: str, name: str) -> bool:
        """Whether this may stay, in the words of the check: ``thread`` and ``fsspecIO``."""
        return any(
            fnmatch.fnmatchcase(text, glob)
            for glob in self.allow_residue
            for text in (name, f"{kind} {name}")
        )

    def may_be_unread(self, name: str) -> bool:
        """Whether the job need not take this value back from a checkpoint."""
        return any(fnmatch.fnmatchcase(name, glob) for glob in self.allow_unread)

    def may_be_cast(self, name: str) -> bool:
        """Whether this value may come back from a checkpoint as another dtype."""
        return any(fnmatch.fnmatchcase(name, glob) for glob in self.allow_cast)

    @property
    def told(self) -> str:
        """What is not asked, in words; empty where all is."""
        parts = []
        if self.checks:
            parts.append(f"checked is only {', '.join(map(_name, self.names(())))}")
        elif self.no_check:
            parts.append(f"not checked is {', '.join(self.no_check)}")
        if self.allow_residue:
            parts.append(f"{', '.join(self.allow_residue)} may stay")
        if self.allow_unread:
            parts.append(f"{', '.join(self.allow_unread)} may stay unread")
        if self.allow_cast:
            parts.append(f"{', '.join(self.allow_cast)} may be cast")
        return "; ".join(parts)

    @property
    def options(self) -> dict[str, Any]:
        """The same as arguments of `World.run` and `sweep`."""
        return msgspec.structs.asdict(self)

    def to_builtins(self) -> dict[str, list[str]]:
        """The same as JSON has it; a check of one's own by its name."""
        return {
            "checks": [_name(check) for check in self.checks],
            "no_check": list(self.no_check),
            **{field: list(getattr(self, field)) for field in ALLOWANCES},
        }

    @property
    def words(self) -> list[str]:
        """The same as words of a command line."""
        pairs = (
            ("--checks", [check for check in self.checks if isinstance(check, str)]),
            ("--no-check", self.no_check),
            *((f"--{field.replace('_', '-')}", getattr(self, field)) for field in ALLOWANCES),
        )
        return [word for option, values in pairs for value in values for word in (option, value)]


ALL = Chosen()


def _several(name: str, value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    if isinstance(value, str | bytes) or hasattr(value, "find"):  # one name, or one check
        return (value,)
    if isinstance(value, type) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be one name or several, or None (got {shown(value)})")
    return tuple(value)


def _name(check: Any) -> str:
    return check if isinstance(check, str) else str(check.name)
