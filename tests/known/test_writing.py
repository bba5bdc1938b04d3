"""What is written is read back as it was seen, and what stood in the file stays."""

from __future__ import annotations

import datetime
import tomllib

import pytest

from faultkit.exceptions import KnownError
from faultkit.known.entries import Example, Occurrence
from faultkit.known.identity import identity_of
from faultkit.known.reading import read_file
from faultkit.known.sorting import sort
from faultkit.known.writing import DAYS_ACCEPTED, add_known, refusal_to_add

TODAY = datetime.date(2027, 1, 1)


def seen(point="writer.reset", scenario="mine.save", verdict="HUNG", plan="writer.reset@1=hang"):
    identity = identity_of("liveness", verdict, points=[point], actions=["hang"], where=["a.b"], roles="all")
    example = Example(campaign="sweep", scenario=scenario, plan=plan, seed=3)
    return Occurrence(identity=identity, evidence="waits", scenario=scenario, example=example)


def test_what_is_written_is_known_the_next_time(tmp_path):
    file = str(tmp_path / "known.toml")
    found = [seen(), seen(), seen("reader.reset"), seen(scenario="other.save")]
    names = add_known(file, found, today=TODAY)
    assert names == (
        "hung-reader.reset-hang",
        "hung-writer.reset-hang",
        f"hung-writer.reset-hang-{found[0].identity.digest}",
    )
    entries = read_file(file)
    assert sort(found, entries, today=TODAY).held
    assert not sort(found, entries, today=TODAY + datetime.timedelta(days=DAYS_ACCEPTED + 1)).held
    assert not sort([seen(verdict="LOST_WORK")], entries, today=TODAY).held
    assert not any(entry.was_looked_at for entry in entries)
    assert entries[1].examples == (found[0].example,)


def test_it_adds_behind_what_is_there_and_adds_nothing_twice(tmp_path):
    file = tmp_path / "known.toml"
    file.write_text(
        '# ours\r\n[[known]]\nname = "b"\nreason = "r"\nexpires = 2027-03-01\ncheck = "leaks"', newline=""
    )
    before = file.read_bytes()
    assert add_known(str(file), [seen()], today=TODAY) == ("hung-writer.reset-hang",)
    after = file.read_bytes()
    assert after.startswith(before) and len(read_file(str(file))) == 2
    assert add_known(str(file), [seen()], today=TODAY) == ()
    assert file.read_bytes() == after


@pytest.mark.parametrize(
    "text",
    [
        '"quoted" \\ back',
        "line\nend\ttab",
        "\x00\x1b[31m\x7f",
        "é 日本 🜲",
        "\ud800",
        "'''\"\"\"",
        "# no comment",
    ],
)
def test_any_text_is_written_as_it_is(tmp_path, text):
    file = str(tmp_path / "known.toml")
    given = seen(point=text, scenario="mine.save")
    add_known(file, [given], today=TODAY)
    [entry] = read_file(file)
    if "\ud800" not in text:
        assert entry.patterns[0].point == (given.identity.point,)
    with open(file, "rb") as stream:
        assert len(tomllib.load(stream)["known"]) == 1
    assert sort([given], [entry], today=TODAY).held


def test_a_file_that_is_no_such_file_is_left_alone(tmp_path):
    file = tmp_path / "notes.toml"
    file.write_text("[tool]\nx = 1\n")
    assert "--write-known adds to a file of known violations, and this is none" in refusal_to_add(str(file))
    with pytest.raises(KnownError):
        add_known(str(file), [seen()], today=TODAY)
    assert file.read_text() == "[tool]\nx = 1\n"
    assert "must lie in a directory" in refusal_to_add(str(tmp_path / "no" / "known.toml"))
    assert refusal_to_add(str(tmp_path / "known.toml")) == ""


def test_nothing_is_written_where_nothing_is_new(tmp_path):
    assert add_known(str(tmp_path / "known.toml"), [], today=TODAY) == ()
    assert not (tmp_path / "known.toml").exists()
