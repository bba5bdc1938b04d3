"""Judges what the ranks of a restart came back to against the model, and what a save without a fault came to.

Guarantees: every byte of every leaf on every rank is compared.  What was loaded is told apart by itself: which
save each row is of, whatever `load_latest` said.  Not covered: the engine's own promises about errors, such as
which rank it names; those are the checks of a run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from faultkit.checks import Verdict
from faultkit.checks.wording import name_ranks, plural, top_frames, without_own_frames
from faultkit.history.model import Model, Refusal, Version, allowed, may_refuse
from faultkit.history.ranks import LoadedState
from faultkit.history.state import BLANK, LEAVES, STEP, Leaf, Part, content, spans
from faultkit.known.of_runs import function_of
from faultkit.runs.outcomes import Died, Hung, Outcome, Raised, Returned

__all__ = ["Finding", "Judged", "Words", "judge_restart", "name_version", "random_of_another", "unprovoked"]

TRACEBACK_LINES = 12


class Finding(msgspec.Struct, frozen=True):
    """A broken promise: what it is, in one sentence, and lines that show it.

    `gloss` says in one clause what the harm is here, where that is more than the verdict says of itself; `where` are
    the functions in which ranks raised or hung.
    """

    verdict: Verdict
    sentence: str
    evidence: tuple[str, ...] = ()
    gloss: str = ""
    where: tuple[str, ...] = ()

    @property
    def meaning(self) -> str:
        return self.gloss or self.verdict.meaning


class Words(msgspec.Struct, frozen=True):
    """What the functions are called, by whoever wrote them."""

    load: str = "load_latest"
    steps: str = "list"


class Judged(msgspec.Struct, frozen=True):
    """What a restart came to: a finding, or else the version that the job goes on from.

    `is_settled` is False where the restart found nothing out: it refused, or failed as planned.
    """

    finding: Finding | None = None
    version: Version | None = None
    is_settled: bool = False


def name_version(version: Version | None) -> str:
    """``"save 2 (of step 1)"``, or ``"nothing"``."""
    return "nothing" if version is None else f"save {version.number} (of step {version.step})"


def unprovoked(what: str, outcomes: Mapping[int, Outcome]) -> Finding | None:
    """The finding that `what`, in which no fault fired, did not return on every rank; None where it did."""
    for kind, verdict, words in (
        (Hung, Verdict.HUNG, "never came back"),
        (Died, Verdict.DIED, "died"),
        (Raised, Verdict.UNUSABLE, "raised"),
    ):
        ranks = [rank for rank, outcome in outcomes.items() if isinstance(outcome, kind)]
        if ranks:
            sentence = f"{name_ranks(ranks)} {words} in {what}, in which no fault happened"
            where = tuple(filter(None, (function_of(outcomes[rank]) for rank in ranks)))
            return Finding(verdict, sentence, _traceback(outcomes[ranks[0]], ranks[0]), where=where)
    return None


def judge_restart(
    model: Model,
    refusal: Refusal,
    outcomes: Mapping[int, Outcome],
    versions: Iterable[Version],
    *,
    is_excused: bool,
    words: Words | None = None,
) -> Judged:
    """Judge a restart whose ranks came to `outcomes`.

    `versions` are all saves of the history.  With `is_excused`, for a fault fired in it, it may fail, and what `steps`
    gave says nothing: the fault may have struck it.
    """
    words = words or Words()
    returned = {rank: one.value for rank, one in outcomes.items() if isinstance(one, Returned)}
    if len(returned) < len(outcomes):
        return _judge_failed(model, refusal, outcomes, bool(returned), is_excused, words)
    came: dict[int, LoadedState] = {
        rank: msgspec.structs.replace(one, listed=None) if is_excused else one
        for rank, one in returned.items()
    }
    finding = _disagreement(came, words)
    if finding is not None:
        return Judged(finding)
    step, listed = came[min(came)].step, came[min(came)].listed
    version = None
    if step is not None:
        version = _version_of(came, versions)
        if version is None:
            sentence = f"what {words.load} loaded for step {step} is no checkpoint that was saved"
            gloss = "what was loaded without an error was never saved"
            return Judged(Finding(Verdict.SILENT_WRONG, sentence, tuple(_origins(came, versions)), gloss))
        if version.step != step:
            sentence = f"{words.load} returned step {step} and loaded {name_version(version)}"
            gloss = "the step that was returned is not that of the data"
            return Judged(Finding(Verdict.SILENT_WRONG, sentence, gloss=gloss))
    if version not in allowed(model):
        return Judged(_not_allowed(model, version))
    if listed is not None and max(listed, default=None) != step:
        came_to = _steps([step] if step else [])
        sentence = f"{words.steps} gave {_steps(listed)} where {words.load} came back to {came_to}"
        gloss = f"{words.steps} and {words.load} do not tell of the same checkpoint"
        return Judged(Finding(Verdict.SILENT_WRONG, f"{sentence}: the newest must be the same", gloss=gloss))
    return Judged(None, version, True)


def random_of_another(
    outcomes: Mapping[int, Outcome], held: Mapping[int, Mapping[str, str]], version: Version
) -> Finding | None:
    """The finding that a load gave a rank a random state which only others had, `held` by rank, when they saved.

    Says nothing of a load that leaves random states alone, nor of ranks that had the same.
    """
    wrong: dict[str, list[int]] = {}
    for rank, outcome in outcomes.items():
        if not isinstance(outcome, Returned) or rank not in held:
            continue
        before, after = outcome.value.random
        for name, state in after.items():
            others = {one.get(name) for other, one in held.items() if other != rank}
            if state != before.get(name) and state in others and state != held[rank].get(name):
                wrong.setdefault(name, []).append(rank)
    if not wrong:
        return None
    what = " and ".join(f"of {name} on {name_ranks(ranks)}" for name, ranks in wrong.items())
    sentence = f"the load of {name_version(version)} set the random state {what} to that of another rank"
    return Finding(Verdict.SILENT_WRONG, sentence, gloss="ranks that drew apart go on drawing the same")


def _judge_failed(
    model: Model,
    refusal: Refusal,
    outcomes: Mapping[int, Outcome],
    has_returned: bool,
    is_excused: bool,
    words: Words,
) -> Judged:
    if is_excused:
        return Judged()
    refused = [rank for rank, one in outcomes.items() if isinstance(one, Raised)]
    if len(refused) + has_returned < len(outcomes) and not (has_returned and refused):
        finding = unprovoked(words.load, outcomes)
        if finding is not None and finding.verdict is not Verdict.UNUSABLE:
            return Judged(finding)
    shown = _traceback(outcomes[refused[0]], refused[0]) if refused else ()
    if len(refused) < len(outcomes):
        others = [rank for rank in outcomes if rank not in refused]
        sentence = f"{words.load} raised on {name_ranks(refused)}, and not on {name_ranks(others)}"
        gloss = "some ranks go on while others refuse"
        return Judged(Finding(Verdict.PARTIAL, sentence, shown, gloss, _raised_in(outcomes)))
    if may_refuse(model, refusal):
        return Judged()
    sentence = f"{words.load} refused, although {name_version(model.acknowledged)} is acknowledged"
    gloss = "the job could not come back to acknowledged work"
    return Judged(Finding(Verdict.LOST_WORK, sentence, shown, gloss, _raised_in(outcomes)))


def _raised_in(outcomes: Mapping[int, Outcome]) -> tuple[str, ...]:
    return tuple(filter(None, (function_of(one) for one in outcomes.values() if isinstance(one, Raised))))


def _disagreement(came: Mapping[int, LoadedState], words: Words) -> Finding | None:
    first = came[min(came)]
    for rank, one in came.items():
        if isinstance(one.step, str):
            sentence = (
                f"{words.load} must return a step, which is an int, or None (got {one.step} on rank {rank})"
            )
            return Finding(Verdict.UNUSABLE, sentence)
        if isinstance(one.listed, str):
            return Finding(
                Verdict.UNUSABLE,
                f"{words.steps} must give steps, which are ints ({one.listed} on rank {rank})",
            )
    by_step: dict[int | str | None, list[int]] = {}
    for rank, one in came.items():
        by_step.setdefault(one.step, []).append(rank)
    if len(by_step) > 1:
        parts = [f"{name_ranks(r)} to {'nothing' if s is None else f'step {s}'}" for s, r in by_step.items()]
        sentence = f"the ranks came back to different checkpoints: {', '.join(parts)}"
        return Finding(Verdict.SILENT_WRONG, sentence, gloss="the ranks go on from different checkpoints")
    odd = [rank for rank, one in came.items() if one.listed != first.listed]
    if odd:
        theirs = f"{_steps(came[odd[0]].listed)} on rank {odd[0]}"
        sentence = f"{words.steps} gave {_steps(first.listed)} on rank 0 and {theirs}"
        return Finding(Verdict.PARTIAL, sentence, gloss="the ranks know of different checkpoints")
    return None


def _not_allowed(model: Model, version: Version | None) -> Finding:
    least = model.acknowledged
    came = f"the job came back to {name_version(version)}"
    if least is not None and (version is None or version < least or version.number < least.number):
        sentence = f"{came}, although {name_version(least)} is acknowledged"
        return Finding(Verdict.LOST_WORK, sentence, gloss="the job did not come back to acknowledged work")
    return Finding(
        Verdict.SILENT_WRONG,
        f"{came}, which was never acknowledged and which an earlier restart had not found",
        gloss="the job came back to a save that it had no reason to believe in",
    )


# -- what was loaded ---------------------------------------------------------------------------------------


def _version_of(came: Mapping[int, LoadedState], versions: Iterable[Version]) -> Version | None:
    return next((one for one in versions if all(_holds(came, rank, one) for rank in came)), None)


def _holds(came: Mapping[int, LoadedState], rank: int, version: Version) -> bool:
    origins = came[rank].origins
    if origins is not None:
        return all(version.number in numbers for numbers in origins.values())
    parts = came[rank].parts
    if parts[STEP] != Part(0, str(version.step).encode()):
        return False
    for leaf in LEAVES:
        low, high = spans(leaf, rank, len(came))
        wanted = content(leaf, version)[low * leaf.row_bytes : high * leaf.row_bytes]
        if parts[leaf.path].malformed or parts[leaf.path].data != wanted:
            return False
    return True


def _origins(came: Mapping[int, LoadedState], versions: Iterable[Version]) -> Iterator[str]:
    """A line for each leaf: which save its rows are of."""
    versions = tuple(versions)
    if any(one.origins is not None for one in came.values()):
        yield from _origins_of_leaves(came)
        return
    for leaf in LEAVES:
        by_words: dict[str, list[int]] = {}
        for rank in sorted(came):
            by_words.setdefault(_origin(leaf, came[rank].parts[leaf.path], versions), []).append(rank)
        if leaf.is_sharded:
            said = [words for words in by_words if words]
            yield f"{leaf.path}: {'; '.join(said)}"
        elif len(by_words) == 1:
            yield f"{leaf.path}: {next(iter(by_words))}"
        else:
            yield f"{leaf.path}: " + "; ".join(f"on {name_ranks(r)} {w}" for w, r in by_words.items())
    steps = {part.malformed or part.data.decode() for part in (one.parts[STEP] for one in came.values())}
    yield f"{STEP}: {', '.join(sorted(steps))}"


def _origins_of_leaves(came: Mapping[int, LoadedState]) -> Iterator[str]:
    names = dict.fromkeys(name for one in came.values() for name in one.origins or ())
    for name in names:
        by_words: dict[str, list[int]] = {}
        for rank, one in sorted(came.items()):
            numbers = (one.origins or {}).get(name, ())
            words = f"of save {numbers[-1]}" if numbers else "of no save"
            by_words.setdefault(words, []).append(rank)
        yield f"{name}: " + "; ".join(f"on {name_ranks(r)} {w}" for w, r in by_words.items())


def _origin(leaf: Leaf, part: Part, versions: tuple[Version, ...]) -> str:
    if part.malformed:
        return part.malformed
    size = leaf.row_bytes
    rows = [part.data[place : place + size] for place in range(0, len(part.data), size)]
    found = [_origin_of_row(leaf, part.first_row + place, row, versions) for place, row in enumerate(rows)]
    words, place = [], part.first_row
    for origin, same in itertools.groupby(found):
        count = len(list(same))
        numbers = str(place) if count == 1 else f"{place}-{place + count - 1}"
        noun = (
            plural(range(count), "row", "rows")
            if len(leaf.shape) > 1
            else plural(range(count), "element", "elements")
        )
        words.append(f"{noun} {numbers} {plural(range(count), 'is', 'are')} {origin}")
        place += count
    return ", ".join(words)


def _origin_of_row(leaf: Leaf, row: int, data: bytes, versions: tuple[Version, ...]) -> str:
    size = leaf.row_bytes
    for version in reversed(versions):
        if content(leaf, version)[row * size : (row + 1) * size] == data:
            return f"of {name_version(version)}"
    import struct

    if data == struct.pack("<f", BLANK) * (size // 4):
        return "not loaded at all"
    return "of no save"


def _steps(listed: object) -> str:
    if not isinstance(listed, tuple | list) or not listed:
        return "no step"
    return f"step{'' if len(listed) == 1 else 's'} {', '.join(map(str, listed))}"


def _traceback(outcome: Outcome, rank: int) -> tuple[str, ...]:
    if isinstance(outcome, Raised):
        text = without_own_frames(outcome.traceback_text)
    else:
        text = "\n".join(map(str, top_frames(getattr(outcome, "stack", ""), TRACEBACK_LINES)))
    lines = [line for line in text.splitlines() if line.strip()]
    return (f"rank {rank}:", *(f"  {line}" for line in lines[-TRACEBACK_LINES:])) if lines else ()
