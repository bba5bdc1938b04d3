"""The journals of crash, damage, history and check: what is there is not done again, and the result is the same."""

from __future__ import annotations

import json

import msgspec
import pytest

from faultkit import crash, damage
from faultkit.cli import main
from faultkit.conformance.card import Effort
from faultkit.conformance.trials.kept import Kept, Through, through
from faultkit.exceptions import JournalError
from faultkit.journals import CampaignJournal, WholeLines

ABOUT = {"scenario": "one", "seed": 0}


def cut(path, lines):
    """Leave so many whole lines of the journal at `path`, and a torn one."""
    whole = path.read_bytes().splitlines(keepends=True)
    assert len(whole) > lines + 1
    path.write_bytes(b"".join(whole[:lines]) + whole[lines][:-5])
    return whole


def test_what_was_made_and_answered_is_there_again_and_a_torn_line_is_not(tmp_path):
    path = tmp_path / "journal"
    with CampaignJournal(str(path), "damage", ABOUT, int) as journal:
        assert journal.made(lambda: b"one\n\xff") == b"one\n\xff"
        for number in range(4):
            journal.add(str(number), number)
    cut(path, 4)
    with CampaignJournal(str(path), "damage", ABOUT, int) as journal:
        assert journal.made(lambda: pytest.fail("made again")) == b"one\n\xff"
        assert journal.done == {"0": 0, "1": 1}
        journal.add("2", 20)
    assert [json.loads(line) for line in path.read_bytes().splitlines()][-1] == {"key": "2", "answer": 20}


@pytest.mark.parametrize("left", [0, 10])
def test_a_journal_of_which_the_first_line_is_torn_begins_anew_or_is_refused(tmp_path, left):
    path = tmp_path / "journal"
    with CampaignJournal(str(path), "damage", ABOUT, int):
        pass
    path.write_bytes(path.read_bytes()[:left])
    if left:
        with pytest.raises(JournalError, match="no whole line"):
            CampaignJournal(str(path), "damage", ABOUT, int)
    else:
        with CampaignJournal(str(path), "damage", ABOUT, int) as journal:
            assert not journal.done


@pytest.mark.parametrize(
    ("campaign", "about", "why"),
    [
        ("crash", ABOUT, "it has campaign 'damage', not 'crash'"),
        ("damage", {**ABOUT, "seed": 3}, "it has seed 0, not 3"),
        ("damage", {"scenario": "one"}, "it has seed 0, not None"),
    ],
)
def test_a_journal_of_another_campaign_is_refused_with_the_difference(tmp_path, campaign, about, why):
    path = tmp_path / "journal"
    with CampaignJournal(str(path), "damage", ABOUT, int) as journal:
        journal.add("0", 0)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=why):
        CampaignJournal(str(path), campaign, about, int)
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", [b"[]", b'{"key": "0", "answer": "no number"}', b'{"made": "%"}', b"\xff"])
def test_what_is_no_line_of_it_is_told_with_its_number(tmp_path, line):
    path = tmp_path / "journal"
    with CampaignJournal(str(path), "damage", ABOUT, int):
        pass
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(JournalError, match="line 2: "):
        CampaignJournal(str(path), "damage", ABOUT, int)


def test_the_second_who_appends_is_refused(tmp_path):
    path = str(tmp_path / "journal")
    with WholeLines(path), pytest.raises(JournalError, match="being written by another process"):
        WholeLines(path)


@pytest.mark.slow
def test_a_survey_of_damage_goes_on_where_it_was(tmp_path):
    path = tmp_path / "journal"
    options = {"world": 1, "actions": ("flip", "truncate"), "samples": 1, "journal_path": str(path)}
    whole = damage.survey("dcp-save", **options)
    lines = cut(path, 5)  # what is damaged, and three loads
    asked = []
    found = damage.survey("dcp-save", **options, on_progress=lambda done, of: asked.append(done))
    assert found.cases == whole.cases and len(found.cases) > 4
    assert sorted(path.read_bytes().splitlines()) == sorted(line.strip() for line in lines)
    with pytest.raises(JournalError, match="it has samples 1, not 2"):
        damage.survey("dcp-save", **{**options, "samples": 2})


def told(found):
    findings = [(one.verdict, one.at, one.detail, one.state_count, one.state.tree) for one in found.findings]
    return findings, [(one.model, one.distinct, one.judged, one.verdicts) for one in found.counts]


@pytest.mark.slow
def test_an_exploration_of_crashes_goes_on_where_it_was(tmp_path):
    path = tmp_path / "journal"
    options = {"world": 1, "journal_path": str(path), "budget_seconds": 300.0}
    whole = crash.explore("dcp-overwrite", ("killed",), **options)
    cut(path, 8)
    found = crash.explore("dcp-overwrite", ("killed",), **options)
    assert told(found) == told(whole) and whole.findings
    assert found.recording == whole.recording
    again = crash.explore("dcp-overwrite", ("killed",), **options)
    assert told(again) == told(whole) and sum(one.loaded for one in again.counts) < sum(
        one.loaded for one in whole.counts
    )


@pytest.mark.slow
def test_lives_that_were_lived_are_not_lived_again(tmp_path, capsys):
    path = tmp_path / "journal"
    words = [
        "history",
        "reference",
        "--world",
        "1",
        "--rules",
        "save,restart",
        "--resume",
        str(path),
        "--json",
        "-",
    ]

    def lived(lives):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--lives", lives])
        assert ended.value.code == 0
        return json.loads(capsys.readouterr().out)["totals"]

    whole = lived("11")
    assert path.read_bytes().count(b"\n") == 3
    cut(path, 1)
    first = lived("10")
    assert sum(first.values()) <= sum(whole.values()) and path.read_bytes().count(b"\n") == 2
    content = path.read_bytes()
    assert lived("10") == first and path.read_bytes() == content


class OneTrial:
    name, share, promises = "plans of one", 1.0, frozenset({"liveness"})
    notes = ("a note",)

    def efforts(self, promise):
        return [Effort("plans", 7, 9, False)]


def test_a_trial_that_was_through_is_told_as_if_it_had_run():
    kept = msgspec.json.decode(msgspec.json.encode(through(OneTrial(), [])), type=Through)
    trial = Kept(OneTrial(), kept)
    assert [list(found) for found in trial.units()] == [[]]
    assert trial.efforts("liveness") == OneTrial().efforts("liveness") and trial.efforts("crash") == []
    assert trial.notes == ("a note",) and trial.name == OneTrial.name


@pytest.mark.slow
def test_a_check_goes_on_with_the_trials_that_were_not_through(tmp_path, capsys):
    path, card = tmp_path / "journal", tmp_path / "card.json"
    words = [
        "check",
        "torch-save",
        "--world",
        "1",
        "--budget",
        "0",
        "--promises",
        "damage",
        "--resume",
        str(path),
    ]

    def checked():
        with pytest.raises(SystemExit):
            main([*words, "--json", str(card)])
        found = json.loads(card.read_text())
        return found["promises"], found["totals"]

    whole = checked()
    content = path.read_bytes()
    assert [json.loads(line)["key"] for line in content.splitlines()[1:]] == ["damage to torch-save"]
    card.unlink()
    assert checked() == whole and path.read_bytes() == content
