"""A file of known violations says what it says, and a wrong one is one line."""

from __future__ import annotations

import datetime
import os

import pytest

from faultkit.exceptions import KnownError
from faultkit.known.reading import FILE_BYTES_MAX, catalogue, read_entries, read_file, read_known

GOOD = """
[[known]]
name = "ours"
reason = "the disks have batteries"
expires = 2027-03-01
check = "crash"
point = ["returned: rename(*)", "returned: write(*)"]
scenarios = "mine*"
options = {threads = "2"}

[[known.example]]
campaign = "crash"
scenario = "mine.save"
models = ["ordered"]
"""
HEAD = '[[known]]\nname = "a"\nreason = "r"\nexpires = 2027-03-01\n'


def test_a_file_says_what_is_known_why_and_until_when():
    [entry] = read_entries(GOOD.encode(), "known.toml")
    assert (entry.name, entry.reason) == ("ours", "the disks have batteries")
    assert entry.expires == datetime.date(2027, 3, 1) and entry.was_looked_at
    [pattern] = entry.patterns
    assert pattern.point == ("returned: rename(*)", "returned: write(*)") and pattern.options == {
        "threads": ("2",)
    }
    assert entry.examples[0].models == ("ordered",) and entry.source == "known.toml"


def test_each_match_has_what_its_entry_says_for_all():
    text = HEAD + 'scenarios = "mine*"\n[[known.match]]\ncheck = "cause"\n[[known.match]]\ncheck = "leaks"\n'
    [entry] = read_entries(text.encode(), "f")
    assert [(one.check, one.scenarios) for one in entry.patterns] == [
        (("cause",), ("mine*",)),
        (("leaks",), ("mine*",)),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("known = 3", "f: known must be a list of tables, each written [[known]]"),
        (
            "[[knwon]]\nname='a'",
            "f: a file of known violations has tables [[known]] (got 'knwon'); did you mean 'known'?",
        ),
        ("[[known]\nname='a'", "f: no TOML: "),
        ("[[known]]\nname = a", "(at line 2, column 8)"),
        (HEAD, "f: entry 1 ('a'): nothing says by what it is recognised"),
        (HEAD + 'roles = "all"', "nothing says by what it is recognised"),
        (HEAD + 'verdit = "HUNG"', "f: entry 1 ('a'): unknown key 'verdit'; keys are name, title, reason"),
        (HEAD + 'verdit = "HUNG"', "; did you mean 'verdict'?"),
        ('[[known]]\nname = "a"\nexpires = 2027-03-01\ncheck = "x"', "reason is missing; why it is accepted"),
        (
            '[[known]]\nname = "a"\nreason = " "\nexpires = 2027-03-01\ncheck = "x"',
            "reason must say something (got '')",
        ),
        (
            '[[known]]\nname = "a"\nreason = "r"\ncheck = "x"',
            "expires is missing; the last day on which it is accepted",
        ),
        ('[[known]]\nreason = "r"\nexpires = 2027-03-01\ncheck = "x"', "f: entry 1: name is missing"),
        (HEAD.replace("2027-03-01", '"2027-03-01"') + 'check = "x"', "expires must be a date without quotes"),
        (
            HEAD.replace("2027-03-01", "2027-03-01T00:00:00") + 'check = "x"',
            "expires must be a date without quotes",
        ),
        (HEAD + "check = 3", "check must be text of at most 2000 characters (got 3)"),
        (HEAD + f'check = "{"x" * 3000}"', "(got 3000 characters)"),
        (HEAD + 'point = "' + "*a" * 30 + '"', "point must have at most 20 stars (got 30)"),
        (
            HEAD + 'check = "x"\nseverity = "bad"',
            "severity must be one of data, work, hang, report, nuisance (got 'bad')",
        ),
        (HEAD + 'check = "x"\nversions = "2.13 or so"', "versions must be bounds such as '>=2.13,<2.15'"),
        (HEAD + 'check = "x"\noptions = 3', "options must be a table"),
        (HEAD + 'check = "x"\n' + HEAD + 'check = "x"', "f: entry 2: name 'a' stands twice"),
        (HEAD + 'check = "x"\n[known.example]\nscenario = "s"', "example must be tables"),
        (HEAD + 'check = "x"\n[[known.example]]\nscenario = "s"', "example: campaign is missing"),
        (HEAD + 'check = "x"\n[[known.example]]\nscenario = "s"\ncampaign = "swep"', "did you mean 'sweep'?"),
        (
            HEAD + 'check = "x"\n[[known.example]]\nscenario = "s"\ncampaign = "sweep"\nworld = -1',
            "world must be a number",
        ),
        (HEAD + 'check = "x"\n[[known.match]]\nchek = "y"', "match: unknown key 'chek'"),
    ],
)
def test_a_wrong_file_is_one_line_that_says_what_is_wrong_where(text, words):
    with pytest.raises(KnownError) as refused:
        read_entries(text.encode(), "f")
    assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"a = " + b"[" * 100_000,
        b"x" * (FILE_BYTES_MAX + 1),
        b"[[known]]\n" * 20_000,
        b"\0",
    ],
    ids=["no text", "deep", "large", "many", "null"],
)
def test_a_hostile_file_is_refused_in_one_line(content):
    with pytest.raises(KnownError) as refused:
        read_entries(content, "f")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_a_large_file_is_not_parsed():
    with pytest.raises(KnownError, match="has at most 4 MiB"):
        read_entries(b"\n" * (FILE_BYTES_MAX + 1), "f")


def test_a_file_that_cannot_be_read_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("no-such-file", str(tmp_path), str(tmp_path / "pipe"), "a\0b", "x" * 5000):
        with pytest.raises(KnownError, match="a file to be read must be one"):
            read_file(name)
    with pytest.raises(KnownError, match="did you mean 'builtin'"):
        read_file("bulitin")


def test_files_of_users_come_in_their_order_and_each_once(tmp_path):
    file = tmp_path / "known.toml"
    file.write_text(GOOD)
    found = read_known([str(file), "builtin", str(file)])
    assert [entry.name for entry in found] == ["ours", *(entry.name for entry in catalogue())]
