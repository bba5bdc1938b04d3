"""Compares what two campaigns found, by identity: new, gone, better, worse.

What is compared is the JSON that the campaigns write.  Guarantees: two findings are compared
only where they are of the same campaign over the same scenario on as many ranks; a violation is gone where the later
one did what had shown it, and else untried.  A file of a stranger runs no code.  Not covered: counts, times and texts,
which differ from run to run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from faultkit.exceptions import KnownError
from faultkit.known.identity import FIELDS, Identity
from faultkit.messages import seen

__all__ = ["Comparison", "Found", "compare", "read_found"]

FILE_BYTES_MAX = 256 << 20
TEXT_CHARACTERS_MAX = 4_000


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign found: each identity with what showed it, and what was tried.

    `tried` are the plans of a sweep, the models of a crash, the damage and so on; None where all was.
    """

    campaign: str
    subject: str
    world: int
    torch: str = ""
    violations: dict[Identity, tuple[str, ...]]
    tried: frozenset[str] | None = None
    source: str = ""

    def has_tried(self, shown: Iterable[str]) -> bool:
        """Whether it did any of what had shown a violation."""
        return self.tried is None or any(one in self.tried for one in shown)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`fresh` are new in the later one, `gone` not there any more, `untried` may be there.

    `worse` and `better` are pairs, the earlier one and the later one at the same place with another verdict.
    """

    before: Found
    after: Found
    same: tuple[Identity, ...] = ()
    fresh: tuple[Identity, ...] = ()
    gone: tuple[Identity, ...] = ()
    untried: tuple[Identity, ...] = ()
    worse: tuple[tuple[Identity, Identity], ...] = ()
    better: tuple[tuple[Identity, Identity], ...] = ()

    @property
    def held(self) -> bool:
        """Whether nothing is new or worse."""
        return not (self.fresh or self.worse)

    def to_builtins(self) -> dict[str, Any]:
        def pairs(found: Iterable[tuple[Identity, Identity]]) -> list[dict[str, Any]]:
            return [{"before": one.to_builtins(), "after": other.to_builtins()} for one, other in found]

        return {
            "campaign": self.after.campaign,
            "scenario": self.after.subject,
            "world": self.after.world,
            "before": {"source": self.before.source, "torch": self.before.torch},
            "after": {"source": self.after.source, "torch": self.after.torch},
            "new": [one.to_builtins() for one in self.fresh],
            "worse": pairs(self.worse),
            "better": pairs(self.better),
            "gone": [one.to_builtins() for one in self.gone],
            "untried": [one.to_builtins() for one in self.untried],
            "same": len(self.same),
        }


def compare(before: Found, after: Found) -> Comparison:
    """What has changed.  Raises KnownError for two that are not of the same campaign, scenario and number of ranks."""
    for what, one, other in (
        ("campaign", before.campaign, after.campaign),
        ("scenario", before.subject, after.subject),
        ("world", before.world, after.world),
    ):
        if one != other:
            raise KnownError(
                f"{before.source} and {after.source} must be of the same {what} (got {seen(one)} and {seen(other)})"
            )
    left = [one for one in before.violations if one not in after.violations]
    fresh = [one for one in after.violations if one not in before.violations]
    worse: list[tuple[Identity, Identity]] = []
    better: list[tuple[Identity, Identity]] = []
    for new in tuple(fresh):
        places = [old for old in left if old.place == new.place]
        if not places:
            continue
        old = min(places, key=lambda one: (one.severity, one))
        fresh.remove(new)
        (worse if new.severity < old.severity else better).append((old, new))
    changed = {old.place for old, _ in (*worse, *better)}
    left = [one for one in left if one.place not in changed]
    gone = [one for one in left if after.has_tried(before.violations[one])]
    return Comparison(
        before=before,
        after=after,
        same=tuple(sorted(one for one in after.violations if one in before.violations)),
        fresh=tuple(sorted(fresh)),
        gone=tuple(sorted(gone)),
        untried=tuple(sorted(one for one in left if one not in gone)),
        worse=tuple(sorted(worse)),
        better=tuple(sorted(better)),
    )


def read_found(path: str) -> Found:
    """What the file at `path` says that was found.  Raises KnownError."""
    try:
        if not os.path.isfile(path):
            raise KnownError(f"a file to be read must be one (got {seen(path)})")
        with open(path, "rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise KnownError(f"a file to be read must be one (got {seen(path)}: {error.strerror})") from None
    except ValueError as error:
        if isinstance(error, KnownError):
            raise
        raise KnownError(
            f"a file to be read must be one (got {seen(path)}: no file has such a name)"
        ) from None
    if len(content) > FILE_BYTES_MAX:
        raise KnownError(f"{path}: has more than {FILE_BYTES_MAX >> 20} MiB")
    try:
        made = json.loads(content)
    except (ValueError, RecursionError) as error:
        why = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise KnownError(f"{path}: no JSON: {why}") from None
    return _Reading(path, made).found()


class _Reading:
    """One file as JSON, with what to say where something in it is wrong."""

    def __init__(self, path: str, made: Any) -> None:
        self.path, self.made = path, made

    def error(self, text: str) -> KnownError:
        return KnownError(f"{self.path}: {text}")

    def found(self) -> Found:
        made = self.made
        if not isinstance(made, dict):
            raise self.error("must hold the object that --json writes")
        name = next((name for name, one in _CAMPAIGNS.items() if one.key in made), "")
        if not name:
            raise self.error(f"must be the JSON of one of {', '.join(_CAMPAIGNS)}")
        campaign = _CAMPAIGNS[name]
        return Found(
            campaign=name,
            subject=self.text(made, campaign.subject),
            world=self.number(made, campaign.world),
            torch=self.text(made, "torch", default=""),
            violations=campaign.violations(self, made),
            tried=campaign.tried(self, made),
            source=self.path,
        )

    def text(self, table: Mapping[str, Any], key: str, default: str | None = None) -> str:
        value = table.get(key, default)
        if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX:
            raise self.error(f"{key} must be text (got {seen(value)})")
        return value

    def number(self, table: Mapping[str, Any], key: str) -> int:
        value = table.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(f"{key} must be a number (got {seen(value)})")
        return value

    def tables(self, table: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self.error(f"{key} must be a list of objects")
        return value

    def identity(self, table: Mapping[str, Any]) -> Identity:
        told = table.get("identity")
        if not isinstance(told, dict):
            raise self.error("a violation has no identity: write it anew with this version of faultkit")
        fields = {key: self.text(told, key, default="") for key in FIELDS}
        if not fields["check"] or not fields["verdict"]:
            raise self.error("an identity must have a check and a verdict")
        return Identity(**fields)

    def of_sweep(self, made: Mapping[str, Any]) -> dict[Identity, tuple[str, ...]]:
        found: dict[Identity, list[str]] = {}
        for plan in self.tables(made, "plans"):
            for violation in self.tables(plan, "violations"):
                found.setdefault(self.identity(violation), []).append(self.text(plan, "plan"))
        return _frozen(found)

    def plans(self, made: Mapping[str, Any]) -> frozenset[str]:
        plans = {self.text(plan, "plan") for plan in self.tables(made, "plans")
                 if plan.get("verdict") != "INERT"}  # fmt: skip
        return frozenset({*plans, ""} if made.get("tried_unbroken") is True else plans)

    def of_crash(self, made: Mapping[str, Any]) -> dict[Identity, tuple[str, ...]]:
        found: dict[Identity, list[str]] = {}
        for finding in self.tables(made, "findings"):
            models = finding.get("models")
            shown = [one for one in models if isinstance(one, str)] if isinstance(models, list) else []
            found.setdefault(self.identity(finding), []).extend(shown)
        return _frozen(found)

    def models(self, made: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(
            self.text(model, "model")
            for model in self.tables(made, "models")
            if model.get("complete") is True
        )

    def of_damage(self, made: Mapping[str, Any]) -> dict[Identity, tuple[str, ...]]:
        found: dict[Identity, list[str]] = {}
        for case in self.tables(made, "cases"):
            if "identity" in case:
                found.setdefault(self.identity(case), []).append(self.text(case, "damage"))
        return _frozen(found)

    def damages(self, made: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(self.text(case, "damage") for case in self.tables(made, "cases"))

    def of_fallback(self, made: Mapping[str, Any]) -> dict[Identity, tuple[str, ...]]:
        found: dict[Identity, list[str]] = {}
        for case in self.tables(made, "cases"):
            violation = case.get("violation")
            if isinstance(violation, dict):
                found.setdefault(self.identity(violation), []).append(self.text(case, "damage"))
        return _frozen(found)

    def of_list(self, made: Mapping[str, Any]) -> dict[Identity, tuple[str, ...]]:
        return {self.identity(violation): ("",) for violation in self.tables(made, "violations")}

    def of_resume(self, made: Mapping[str, Any]) -> dict[Identity, tuple[str, ...]]:
        restarts = self.tables(made, "restarts")
        return {
            self.identity(one): ("",) for restart in restarts for one in self.tables(restart, "violations")
        }

    def everything(self, _: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(("",))

    def of_history(self, made: Mapping[str, Any]) -> dict[Identity, tuple[str, ...]]:
        return {self.identity(made): ("",)} if "identity" in made else {}

    def lives(self, made: Mapping[str, Any]) -> frozenset[str]:
        # lives are drawn: one that broke a promise kept the others from being lived
        return frozenset(() if "identity" in made else ("",))

    def of_check(self, made: Mapping[str, Any]) -> dict[Identity, tuple[str, ...]]:
        found: dict[Identity, list[str]] = {}
        for promise in self.tables(made, "promises"):
            for violation in self.tables(promise, "violations"):
                found.setdefault(self.identity(violation), []).append(self.text(promise, "promise"))
        return _frozen(found)

    def promises(self, made: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(
            self.text(promise, "promise") for promise in self.tables(made, "promises") if promise.get("tried")
        )


class _Campaign(NamedTuple):
    """The key that only its JSON has, what it is about, its number of ranks, what it found, and what it tried."""

    key: str
    subject: str
    violations: Callable[[_Reading, Mapping[str, Any]], dict[Identity, tuple[str, ...]]]
    tried: Callable[[_Reading, Mapping[str, Any]], frozenset[str]]
    world: str = "world"


_CAMPAIGNS = {  # the first whose key is there
    "check": _Campaign("promises", "checkpointer", _Reading.of_check, _Reading.promises),
    "sweep": _Campaign("plans", "scenario", _Reading.of_sweep, _Reading.plans),
    "crash": _Campaign("findings", "scenario", _Reading.of_crash, _Reading.models),
    "fallback": _Campaign("work", "checkpointer", _Reading.of_fallback, _Reading.damages),
    "damage": _Campaign("cases", "scenario", _Reading.of_damage, _Reading.damages),
    "resume": _Campaign("restarts", "trainer", _Reading.of_resume, _Reading.everything),
    "growth": _Campaign("slopes", "scenario", _Reading.of_list, _Reading.everything),
    "reshard": _Campaign("save_on", "checkpointer", _Reading.of_list, _Reading.everything, "save_on"),
    "history": _Campaign("story", "checkpointer", _Reading.of_history, _Reading.lives),
}


def _frozen(found: Mapping[Identity, Iterable[str]]) -> dict[Identity, tuple[str, ...]]:
    return {identity: tuple(dict.fromkeys(shown)) for identity, shown in found.items()}
