"""A difference between simulated ranks and processes is told with both verdicts, in a terminal and on a page."""

from __future__ import annotations

import io

import msgspec
from rich.console import Console

from faultkit.report.page import as_html
from faultkit.report.terminal import print_journal
from tests.helpers.explorer_data import data_of
from tests.helpers.sweep_journals import HELD, HUNG, journal, result


def different(plan, verdict, simulated):
    return msgspec.structs.replace(result(plan, verdict), kind="fresh", simulated=simulated)


JOURNAL = journal(
    different("writer.reset@0=raise(ValueError)", HELD, HUNG),
    different("writer.reset@1=raise(ValueError)", HUNG, HUNG),
    different("writer.reset@0=hang; writer.finish@1=raise(ValueError)", HUNG, HELD),
    kind="auto",
)


def printed(width=100):
    console = Console(width=width, file=io.StringIO())
    print_journal(JOURNAL, console)
    return console.file.getvalue()


def test_the_matrix_shows_both_verdicts_of_a_cell():
    [row] = [line for line in printed().splitlines() if line.startswith("writer.reset")]
    assert row.split() == ["writer.reset", "HELD≠HUNG", "HUNG"]


def test_a_plan_outside_of_the_matrix_shows_both_too():
    assert any(line.split()[:1] == ["HUNG≠HELD"] for line in printed().splitlines())


def test_each_difference_stands_by_itself_with_a_command_for_each_world():
    lines = printed(width=60).splitlines()
    start = lines.index("DIFFERENCE writer.reset@0=raise(ValueError)")
    assert lines[start + 1].strip() == "processes came to HELD, simulated ranks to HUNG"
    assert lines[start + 2].endswith("--kind fresh") and lines[start + 3].endswith("--kind simulated")


def test_the_figures_count_what_was_confirmed():
    assert "1 confirmed on processes, 2 not" in " ".join(printed().split())


def test_the_page_shows_both_verdicts():
    data = data_of(as_html(JOURNAL))
    told = [(item["word"], item.get("also", "")) for item in data["items"]]
    assert told == [("HELD", "HUNG on simulated ranks"), ("HUNG", ""), ("HUNG", "HELD on simulated ranks")]
    assert "came to different verdicts in 2 plans" in " ".join(data["notes"])
    assert [label for label, _ in data["items"][0]["ways"]] == [
        "in a shell",
        "on simulated ranks",
        "in a test",
    ]


def test_a_sweep_of_one_world_says_nothing_of_it():
    alone = journal(result("writer.reset@0=raise(ValueError)", HUNG))
    assert "different verdicts" not in as_html(alone)
    console = Console(width=100, file=io.StringIO())
    print_journal(alone, console)
    assert "DIFFERENCE" not in console.file.getvalue() and "confirmed" not in console.file.getvalue()
