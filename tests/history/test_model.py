"""The contract as values, the judgement of a restart, the steps as plain values: no rank is needed for these."""

from __future__ import annotations

import msgspec
import pytest

from faultkit.history.judge import judge_restart
from faultkit.history.model import (
    Model,
    Refusal,
    Version,
    acknowledge,
    allowed,
    attempt,
    may_refuse,
    settle,
)
from faultkit.history.ranks import LoadedState
from faultkit.history.state import BLANK, LEAVES, STEP, Part, content, spans
from faultkit.history.steps import Step, read_history, read_step
from faultkit.runs.outcomes import Died, ErrorRecord, Hung, Raised, Returned

FIRST, SECOND, THIRD = Version(1, 1), Version(2, 2), Version(3, 3)
AGAIN = Version(1, 2)  # step 1 saved once more
STRICT = Refusal.WITHOUT_CHECKPOINT


def test_at_first_there_is_nothing():
    assert allowed(Model()) == (None,)


def test_what_is_acknowledged_must_be_there():
    assert allowed(acknowledge(Model(), FIRST)) == (FIRST,)


def test_what_is_not_acknowledged_may_be_there_or_not():
    assert allowed(attempt(Model(), FIRST)) == (None, FIRST)
    assert allowed(attempt(acknowledge(Model(), FIRST), SECOND)) == (FIRST, SECOND)


def test_of_a_step_saved_again_either_may_be_there_until_the_new_one_is_acknowledged():
    model = attempt(acknowledge(Model(), FIRST), AGAIN)
    assert allowed(model) == (FIRST, AGAIN)
    assert allowed(acknowledge(model, Version(1, 3))) == (Version(1, 3),)


def test_a_save_that_is_acknowledged_replaces_all_before_it():
    assert allowed(acknowledge(attempt(acknowledge(Model(), FIRST), SECOND), THIRD)) == (THIRD,)


def test_what_a_restart_came_back_to_counts_as_acknowledged_and_the_rest_is_gone():
    model = attempt(acknowledge(Model(), FIRST), SECOND)
    assert allowed(settle(model, SECOND)) == (SECOND,)
    assert allowed(settle(model, FIRST)) == (FIRST,)
    assert allowed(settle(attempt(Model(), FIRST), None)) == (None,)


def test_a_later_step_of_a_life_that_refused_may_outlive_an_earlier_acknowledged_one():
    left = attempt(attempt(Model(), FIRST), SECOND)
    assert allowed(acknowledge(left, Version(1, 3))) == (Version(1, 3), SECOND)


@pytest.mark.parametrize(
    ("model", "answers"),
    [
        (Model(), (True, True, True)),
        (attempt(Model(), FIRST), (True, True, True)),
        (acknowledge(Model(), FIRST), (False, False, True)),
        (attempt(acknowledge(Model(), FIRST), SECOND), (False, True, True)),
        (settle(attempt(acknowledge(Model(), FIRST), SECOND), FIRST), (False, False, True)),
    ],
)
def test_when_a_restart_may_refuse(model, answers):
    assert tuple(may_refuse(model, refusal) for refusal in Refusal) == answers


# -- judging ------------------------------------------------------------------------------------------


def parts(version, rank, size):
    found = {STEP: Part(0, str(version.step).encode())}
    for leaf in LEAVES:
        low, high = spans(leaf, rank, size)
        found[leaf.path] = Part(low, content(leaf, version)[low * leaf.row_bytes : high * leaf.row_bytes])
    return found


def came(version, rank=0, size=1, **changes):
    if version is None:
        return Returned(msgspec.structs.replace(LoadedState((), None, {}), **changes))
    value = LoadedState((version.step,), version.step, parts(version, rank, size))
    return Returned(msgspec.structs.replace(value, **changes))


RAISED = Raised(ErrorRecord(type_name="ValueError", message="no"))
ACKNOWLEDGED = acknowledge(acknowledge(Model(), FIRST), SECOND)
ALL = (FIRST, SECOND, THIRD)


def judge(model, *outcomes, refusal=STRICT, is_excused=False):
    return judge_restart(model, refusal, dict(enumerate(outcomes)), ALL, is_excused=is_excused)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_what_is_whole_on_every_rank_settles(size):
    judged = judge(ACKNOWLEDGED, *(came(SECOND, rank, size) for rank in range(size)))
    assert (judged.finding, judged.version, judged.is_settled) == (None, SECOND, True)


@pytest.mark.parametrize(
    ("outcomes", "gloss"),
    [
        ([came(FIRST)], "the job did not come back to acknowledged work"),
        ([RAISED], "the job could not come back to acknowledged work"),
        ([came(SECOND, listed=(1, 2, 3))], "list and load_latest do not tell of the same checkpoint"),
        ([came(SECOND, step=1)], "the step that was returned is not that of the data"),
        ([came(SECOND, 0, 2), came(FIRST, 1, 2)], "the ranks go on from different checkpoints"),
        ([came(SECOND, 0, 2), Hung()], "a rank waited for ever"),
    ],
)
def test_what_a_finding_means_is_said_of_that_finding(outcomes, gloss):
    assert judge(ACKNOWLEDGED, *outcomes).finding.meaning == gloss


def broken(leaf, place=-1):
    """Parts of which one byte of one leaf is another."""
    found = parts(SECOND, 0, 1)
    data = bytearray(found[leaf].data)
    data[place] ^= 1
    return {**found, leaf: Part(0, bytes(data))}


FINDINGS = [
    ([came(FIRST)], "LOST_WORK", "came back to save 1 (of step 1), although save 2 (of step 2) is"),
    ([came(None)], "LOST_WORK", "came back to nothing, although save 2"),
    ([RAISED], "LOST_WORK", "refused, although save 2 (of step 2) is acknowledged"),
    (
        [came(THIRD)],
        "SILENT_WRONG",
        "which was never acknowledged and which an earlier restart had not found",
    ),
    ([came(SECOND, step=1)], "SILENT_WRONG", "returned step 1 and loaded save 2 (of step 2)"),
    ([came(SECOND, listed=(1, 2, 3))], "SILENT_WRONG", "list gave steps 1, 2, 3 where"),
    ([came(SECOND, listed=())], "SILENT_WRONG", "list gave no step where load_latest came back to step 2"),
    ([came(SECOND, listed="raised OSError: x")], "UNUSABLE", "raised OSError: x on rank 0"),
    ([came(SECOND, step="a str")], "UNUSABLE", "(got a str on rank 0)"),
    ([came(SECOND, 0, 2), came(FIRST, 1, 2)], "SILENT_WRONG", "rank 0 to step 2, rank 1 to step 1"),
    (
        [came(SECOND, 0, 2), came(SECOND, 1, 2, listed=(1, 2))],
        "PARTIAL",
        "step 2 on rank 0 and steps 1, 2 on",
    ),
    ([came(SECOND, 0, 2), RAISED], "PARTIAL", "raised on rank 1, and not on rank 0"),
    ([came(SECOND, 0, 2), Hung()], "HUNG", "rank 1 never came back"),
    ([RAISED, Died(signal="SIGSEGV")], "DIED", "rank 1 died"),
    ([came(SECOND, parts=broken("weight"))], "SILENT_WRONG", "no checkpoint that was saved"),
    ([came(SECOND, parts=broken("rows", 0))], "SILENT_WRONG", "no checkpoint that was saved"),
    ([came(SECOND, parts=broken("optimizer.exp_avg"))], "SILENT_WRONG", "no checkpoint that was saved"),
    ([came(SECOND, parts=broken(STEP))], "SILENT_WRONG", "no checkpoint that was saved"),
]


@pytest.mark.parametrize(("outcomes", "verdict", "words"), FINDINGS, ids=[words for *_, words in FINDINGS])
def test_a_restart_that_breaks_a_promise_is_found(outcomes, verdict, words):
    finding = judge(settle(ACKNOWLEDGED, SECOND), *outcomes).finding
    assert finding.verdict == verdict
    assert words in finding.sentence


def test_a_restart_that_a_fault_hit_may_fail_and_settles_nothing():
    for outcomes in ([RAISED], [came(SECOND, 0, 2), RAISED], [RAISED, Died(signal="SIGKILL")], [Hung()]):
        judged = judge(ACKNOWLEDGED, *outcomes, is_excused=True)
        assert (judged.finding, judged.is_settled) == (None, False)
    assert judge(ACKNOWLEDGED, came(FIRST), is_excused=True).finding.verdict == "LOST_WORK"


@pytest.mark.parametrize("listed", ["raised OSError: x", (), (1, 2, 3)])
def test_what_a_fault_made_of_the_steps_is_held_against_nobody(listed):
    judged = judge(ACKNOWLEDGED, came(SECOND, listed=listed), is_excused=True)
    assert (judged.finding, judged.version) == (None, SECOND)
    assert judge(ACKNOWLEDGED, came(None, listed=listed), is_excused=True).finding.verdict == "LOST_WORK"


def test_a_refusal_that_is_allowed_settles_nothing():
    for model, refusal in ((Model(), STRICT), (ACKNOWLEDGED, Refusal.ALWAYS)):
        judged = judge(model, RAISED, RAISED, refusal=refusal)
        assert (judged.finding, judged.is_settled) == (None, False)


def test_a_mix_is_told_row_by_row():
    mixed = came(SECOND, 0, 2), came(SECOND, 1, 2, parts={**parts(FIRST, 1, 2), STEP: Part(0, b"2")})
    assert judge(ACKNOWLEDGED, *mixed).finding.evidence == (
        "weight: on rank 0 elements 0-3 are of save 2 (of step 2); on rank 1 elements 0-3 are of save 1 (of step 1)",
        "rows: rows 0-2 are of save 2 (of step 2); rows 3-4 are of save 1 (of step 1)",
        "optimizer.exp_avg: element 0 is of save 2 (of step 2); element 1 is of save 1 (of step 1)",
        "step: 2",
    )


def test_what_was_not_loaded_and_what_is_of_no_save_is_told():
    import struct

    odd = {
        **parts(SECOND, 0, 1),
        "weight": Part(0, struct.pack("<4f", BLANK, BLANK, 0.5, 0.5)),
        "optimizer.exp_avg": Part(malformed="must be a DTensor (got a Tensor)"),
    }
    evidence = judge(ACKNOWLEDGED, came(SECOND, parts=odd)).finding.evidence
    assert evidence[0] == "weight: elements 0-1 are not loaded at all, elements 2-3 are of no save"
    assert evidence[2] == "optimizer.exp_avg: must be a DTensor (got a Tensor)"


def test_no_two_saves_have_a_row_in_common():
    versions = [Version(step, number) for step in range(1, 40) for number in range(1, 40)]
    for leaf in LEAVES[1:2]:
        rows = [content(leaf, one)[place : place + 8] for one in versions for place in range(0, 40, 8)]
        assert len(set(rows)) == len(rows)


# -- steps as plain values ----------------------------------------------------------------------------


VALUES = [
    ("start", 2),
    ("save",),
    ("save", "storage.write_data@0=raise(ValueError)"),
    ("overwrite",),
    ("overwrite", "storage.finish@0=kill(SIGKILL)"),
    ("restart", 3),
    ("restart", 1, "storage.read_data@0=raise(ValueError)"),
    ("prune", 1),
]


def test_a_history_of_plain_values_is_read_and_printed_alike():
    assert [step.value() for step in read_history(VALUES)] == VALUES
    assert read_step(["restart", 2]) == Step("restart", 2)


REFUSED = [
    ("save", "a step of a history is a tuple such as"),
    (("sav",), "did you mean 'save'?"),
    (("restart",), "takes a number of ranks from 1 to 256 (got None)"),
    (("restart", 0), "(got 0)"),
    (("restart", True), "(got True)"),
    (("prune", -1), "takes a number of checkpoints to keep from 1"),
    (("start", 1, "x"), "takes no argument 'x'"),
    (("save", 3), "takes a plan as text (got 3)"),
    (("save", "storage.write=raise"), "step 'save': "),
    (("save", "", 1), "takes no argument 1"),
]


@pytest.mark.parametrize(("value", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_a_step_that_is_none_is_refused(value, words):
    with pytest.raises(ValueError) as caught:
        read_step(value)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([("save",)], "(got none)"),
        ([("start", 1), ("start", 1)], "(got steps 1, 2)"),
        ("start", "is a list of steps"),
        (None, "is a list of steps"),
    ],
)
def test_a_history_begins_with_its_only_start(values, words):
    with pytest.raises(ValueError) as caught:
        read_history(values)
    assert words in str(caught.value)
