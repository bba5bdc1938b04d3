"""Promise: every future and handle of an asynchronous save completes, and tells the truth about what is on disk.

Read are the events of the futures of `dcp.async_save` (`faultkit.injection.engine.promises`) and of the handles of a
checkpointer (`faultkit.checkpointers.rank_work`).  HUNG: one never completes although its save is over, or the state
could not be staged.  LOST_WORK: one says that the checkpoint is there although its save is still going on, or has
failed and it is not there.  PARTIAL: the save failed, nobody asked its future, and the rank goes on to the end
without an error: neither the next save nor the function has told it.  MASKED: the future of the staging says well
although the state could not be staged.

Not verified: futures of other engines, but for handles that a checkpointer gives; a save that is still going on when
the function is over and whose future nobody asked; how early a handle of another engine says well (``faultkit crash
NAME.async`` finds that); what somebody who asked makes of the answer.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from faultkit.checks.model import RunAnalysis
from faultkit.checks.timeline import same_error
from faultkit.checks.verdict import Verdict
from faultkit.checks.violation import Violation
from faultkit.checks.wording import name_error, name_ranks
from faultkit.runs.outcomes import ErrorRecord, Event, Hung, Returned

__all__ = ["find"]

UPLOAD, STAGING, STAGED, HANDLE = "upload", "staging", "staged", "handle"
_WORDS = {
    UPLOAD: "the future of save",
    STAGING: "the future of the staging of save",
    HANDLE: "the handle of save",
}


class _Promise(msgspec.Struct):
    """One future or handle on one rank; `attempts` are the saves of the engine that it stands for."""

    rank: int
    name: str
    number: int
    attempts: tuple[int, ...]
    ok: bool | None = None
    seconds: float = 0.0
    error: ErrorRecord | None = None
    is_asked: bool = False
    is_left: bool = False  # it had not completed once the function was over


class _Save(msgspec.Struct):
    """How a save of the engine ended on one rank; `ok` is None where it has no end."""

    ok: bool | None = None
    seconds: float = 0.0
    error: ErrorRecord | None = None


def find(analysis: RunAnalysis) -> Iterator[Violation]:
    promises, saves = _recorded(analysis.run.events)
    told: dict[tuple[Verdict, str, str], list[int]] = {}
    for promise in promises.values():
        for verdict, gloss, sentence in _judged(analysis, promise, promises, saves):
            told.setdefault((verdict, gloss, sentence), []).append(promise.rank)
    for (verdict, gloss, sentence), ranks in told.items():
        evidence = f"{name_ranks(ranks)}: {sentence}"
        yield Violation("settled", verdict, evidence, tuple(sorted(set(ranks))), gloss)


_Promises = dict[tuple[int, str, int], _Promise]
_Saves = dict[tuple[int, int], _Save]


def _recorded(events: tuple[Event, ...]) -> tuple[_Promises, _Saves]:
    promises: _Promises = {}
    saves: _Saves = {}
    over: set[int] = set()  # ranks in the attempts without a fault that follow
    for event in events:
        data = event.data if isinstance(event.data, dict) else {}
        rank, number = event.rank, data.get("attempt", 0)
        if event.kind == "again":
            over.add(rank)
        if rank in over:
            continue
        key = (
            (rank, HANDLE, data["handle"])
            if "handle" in data
            else (rank, str(data.get("promise", "")), number)
        )
        match event.kind:
            case "attempt_begin" if data.get("op") == "save" and not data.get("child"):
                saves[rank, number] = _Save()
            case "attempt_end" if (rank, number) in saves and not data.get("child"):
                ok = bool(data.get("ok"))
                saves[rank, number] = _Save(ok, event.seconds, None if ok else _error(data.get("error")))
            case "promise":
                promises[key] = _Promise(rank, key[1], number, (number,))
            case "handle":
                promises[key] = _Promise(rank, HANDLE, key[2], tuple(data.get("attempts", ())), is_asked=True)
            case "settled" if key in promises:
                promise = promises[key]
                promise.ok, promise.seconds = bool(data.get("ok")), event.seconds
                promise.error = _error(data.get("error"))
            case "asked" if key in promises:
                promises[key].is_asked = True
            case "unsettled" if key in promises:
                promises[key].is_left = True
    return promises, saves


def _judged(
    analysis: RunAnalysis, promise: _Promise, promises: _Promises, saves: _Saves
) -> Iterator[tuple[Verdict, str, str]]:
    if promise.name == STAGED or promise.rank in analysis.lost_ranks:
        return
    of = [saves[promise.rank, number] for number in promise.attempts if (promise.rank, number) in saves]
    staged = promises.get((promise.rank, STAGED, promise.number)) if promise.name != HANDLE else None
    failed = [save for save in of if save.ok is False]
    subject = f"{_WORDS.get(promise.name, promise.name)} {promise.number}"
    outcome = analysis.outcomes.get(promise.rank)
    if promise.ok is None:
        end = _end_of_work(promise, of, staged)
        if end and (promise.is_left or isinstance(outcome, Hung)):
            sentence = f"{subject} never completes, although {end}"
            yield Verdict.HUNG, "whoever asks for the end of the save waits for ever", sentence
    elif promise.ok and promise.name == STAGING:
        if staged is not None and staged.ok is False:
            sentence = (
                f"{subject} says that the state is staged, although that raised {name_error(staged.error)}"
            )
            yield Verdict.MASKED, "who waits for the staging is not told that it failed", sentence
    elif promise.ok:
        early = [save for save in of if save.ok is None or save.seconds > promise.seconds]
        if early or (failed and not _is_there(analysis, promise)):
            why = f"it raised {name_error(failed[0].error)}" if failed else "it was still going on"
            sentence = f"{subject} says that the checkpoint is there, although {why}"
            yield Verdict.LOST_WORK, "what was reported as saved was not there", sentence
    elif (
        promise.name == UPLOAD
        and isinstance(outcome, Returned)
        and not promise.is_asked
        and not _is_told_later(promise, promises, saves)
    ):
        sentence = f"{subject} completed with {name_error(promise.error)}, nobody asked it, and neither a later save "
        yield Verdict.PARTIAL, "no rank learned of the failure", sentence + "nor the function raised"


def _end_of_work(promise: _Promise, of: list[_Save], staged: _Promise | None) -> str:
    """Why there is nothing more to wait for, in words; "" where there may be."""
    if staged is not None and staged.ok is False:
        return f"the state could not be staged: {name_error(staged.error)}"
    if not of or any(save.ok is None for save in of):
        return ""
    failed = [save for save in of if save.ok is False]
    return f"the save raised {name_error(failed[0].error)}" if failed else "the save is over"


def _is_there(analysis: RunAnalysis, promise: _Promise) -> bool:
    """Whether what the save was given was found afterwards, where somebody looked."""
    found = [one for one in analysis.run.readbacks if one.attempt >= promise.number]
    return bool(found) and all(one.is_new for one in found)


def _is_told_later(promise: _Promise, promises: _Promises, saves: _Saves) -> bool:
    """Whether the next save raised what this one had: at its call, or by a future that somebody asked."""
    later = [
        save.error
        for (rank, number), save in saves.items()
        if rank == promise.rank and number > promise.number
    ]
    later += [
        one.error
        for one in promises.values()
        if one.rank == promise.rank and one.is_asked and (one.name == HANDLE or one.number > promise.number)
    ]
    errors = [link for error in later if error is not None for link in error.chain()]
    return promise.error is not None and any(same_error(link, promise.error) for link in errors)


def _error(value: object) -> ErrorRecord | None:
    if isinstance(value, ErrorRecord) or not isinstance(value, dict):
        return value if isinstance(value, ErrorRecord) else None
    try:
        return msgspec.convert(value, ErrorRecord, strict=False)
    except msgspec.ValidationError:
        return ErrorRecord(type_name=str(value.get("type_name", "")), message=str(value.get("message", "")))
