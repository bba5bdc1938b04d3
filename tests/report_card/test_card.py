"""What a report card says of itself: words, counts, grade and JSON, as values."""

from __future__ import annotations

import json

import pytest

from faultkit.checks import CATALOGUE
from faultkit.conformance import PROMISES, Broken, Effort, PromiseResult, ReportCard
from faultkit.conformance.promises import of_plan, why_not
from faultkit.known import identity_of
from faultkit.known.entries import Occurrence
from faultkit.report.card_page import as_badge, as_html
from tests.helpers.explorer_data import data_of
from tests.helpers.own_checkpointers import LATER, MINE, PARTS


def broken(**values):
    given = {"promise": "leaks", "verdict": "LEAKED", "replay": "faultkit replay x"}
    made = {**given, **values}
    seen = Occurrence(identity=identity_of("leaks", made["verdict"]), evidence="one <b>thread</b>")
    return Broken(occurrence=seen, **made)


def result(promise="leaks", **values):
    return PromiseResult(promise=promise, sentence="nothing leaks", **values)


def card(*promises, **values):
    given = {
        "checkpointer": "mine",
        "torch": "2.13.0",
        "faultkit": "0.1.0",
        "world_size": 3,
        "kind": "auto",
        "seed": 0,
        "budget_seconds": 60.0,
    }
    return ReportCard(promises=promises, **{**given, **values})


ALL = (Effort("plans", 4, 4),)
SOME = (Effort("plans", 3, 4, False),)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (result(efforts=ALL), "HELD"),
        (result(), "NOT_TRIED"),
        (result(is_applicable=False, efforts=ALL), "NOT_APPLICABLE"),
        (result(efforts=ALL, violations=(broken(), broken(verdict="HUNG"))), "HUNG"),
    ],
)
def test_a_promise_that_nothing_tried_is_not_kept(given, verdict):
    assert given.verdict == verdict


def test_the_grade_is_the_worst_that_nobody_has_named_and_how_complete_the_search_was():
    known = broken(verdict="SILENT_WRONG", known="pytorch-1")
    assert card(result(efforts=ALL)).grade == "HELD: 1 promises kept; search complete"
    assert card(result(efforts=SOME)).grade.endswith("search complete for 0 of 1 promises")
    assert card(result(efforts=ALL, violations=(known, broken()))).grade.startswith("LEAKED: leaks broken")
    assert card(result(efforts=ALL, violations=(known,))).held
    assert "1 broken as known" in card(result(efforts=ALL, violations=(known,))).grade
    assert not card(result(efforts=ALL, violations=(known, broken()))).held


def test_what_could_not_be_tried_makes_no_complete_search():
    assert not card(result(efforts=ALL), result("crash")).is_complete
    assert card(result(efforts=ALL), result("crash", is_applicable=False)).is_complete


def test_the_json_has_what_is_relied_on():
    made = json.loads(card(result(efforts=SOME, violations=(broken(known="x"),))).to_json())
    assert {"checkpointer", "torch", "world", "promises", "totals", "grade"} <= set(made)
    [promise] = made["promises"]
    assert (promise["promise"], promise["verdict"], promise["tried"]) == ("leaks", "LEAKED", 3)
    [violation] = promise["violations"]
    assert {"check", "evidence", "replay", "known"} <= set(violation) and violation["known"] == "x"
    assert violation["identity"]["id"] == identity_of("leaks", "LEAKED").digest
    assert made["totals"] == {"LEAKED": 1}


def test_text_page_and_badge_say_the_same_and_take_nothing_for_markup():
    made = card(result(efforts=SOME, violations=(broken(),)), checkpointer="<script>")
    assert "3 of 4 plans" in made.text() and "faultkit replay x" in made.text()
    page, badge = as_html(made), as_badge(made)
    for text in (page, badge):
        assert "&lt;script&gt;" in text and "leaks broken" in text
    assert "<b>thread</b>" not in page and "<script>" not in badge
    assert data_of(page)["items"][0]["evidence"] == [["leaks", "one <b>thread</b>"]]
    assert data_of(page)["tables"][0][2][0][:2] == ["leaks", "LEAKED"]


def shown_at(point, where="mine.save", **values):
    seen = Occurrence(
        identity=identity_of("leaks", "LEAKED", points=[point], where=[where]), evidence=f"at {point}"
    )
    return Broken(occurrence=seen, **{"promise": "leaks", "verdict": "LEAKED", "replay": "x", **values})


def test_violations_of_one_cause_are_told_once_with_all_their_places():
    found = (
        shown_at("fs.open", size=5),
        shown_at("fs.write", size=3),
        shown_at("fs.read", where="mine.load"),
    )
    made = card(result(efforts=ALL, violations=found))
    assert [[one.identity.point for one in several] for several in made.causes] == [
        ["fs.write", "fs.open"],
        ["fs.read"],
    ]
    text = made.text()
    assert text.count("leaks broken (leaks)") == 2 and "the same at fs.open" in text
    known = card(result(efforts=ALL, violations=(shown_at("fs.open", known="old"), shown_at("fs.write"))))
    assert len(known.causes) == 2


def test_every_check_belongs_to_a_promise():
    for check in CATALOGUE:
        for word in ("save", "load", "overwrite", "resume", "prune", "async"):
            for is_broken in (True, False):
                assert of_plan(word, check, is_broken=is_broken) in PROMISES


@pytest.mark.parametrize(
    ("checkpointer", "promises"),
    [
        (MINE, {"snapshot", "settled", "resume"}),
        (LATER, {"retention", "resume"}),
        (PARTS, {"snapshot", "settled", "retention", "resharding", "resume"}),
    ],
)
def test_what_a_checkpointer_cannot_do_it_does_not_promise(checkpointer, promises):
    assert {name for name, promise in PROMISES.items() if why_not(promise, checkpointer)} == promises
