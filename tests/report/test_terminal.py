"""What a sweep looks like in a terminal, in a pipe and as a picture."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree

import msgspec
import pytest
from rich.console import Console

from faultkit import FaultPlan
from faultkit.report.terminal import as_svg, print_journal
from faultkit.sweep.results import Baseline
from tests.helpers.sweep_journals import HUNG, MASKED, journal, result, small_journal


def printed(shown, width=80, **console):
    file = io.StringIO()
    print_journal(shown, Console(file=file, width=width, **console))
    return file.getvalue()


def lines_of(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_matrix_shows_verdicts_by_rank_and_a_dot_where_nothing_was_reached():
    lines = lines_of(printed(small_journal()))
    assert lines[0] == "dcp-save on 2 ranks, warm, torch 9.9: 3 plans, each raise(ValueError)"
    assert "injected at rank 0 rank 1" in lines
    assert "writer.reset HUNG HUNG" in lines
    assert "writer.finish:after HELD ·" in lines
    assert "not reached by this scenario: writer.storage_meta" in lines


def test_a_broken_promise_comes_with_its_evidence_and_the_command_that_replays_it():
    lines = lines_of(printed(small_journal()))
    place = lines.index("HUNG writer.reset on ranks 0, 1: raise(ValueError)")
    assert lines[place + 1] == "liveness: rank 0 waits"
    command = "faultkit replay 'writer.reset@0=raise(ValueError)' --scenario dcp-save --world 2"
    assert lines[place + 2] == command


@pytest.mark.parametrize("console", [{}, {"force_terminal": True, "color_system": None}])
def test_what_a_terminal_or_rich_would_obey_is_written_out(console):
    evidence = "\x1b]0;title\x07 \x9b2J [bold red]no markup[/bold red] [/dim]"
    shown = journal(
        result("writer.reset@0=hang", HUNG, evidence),
        scenario="mine:save,name=[/dim]\x1b[31m",
        refused=("[b]",),
    )
    text = printed(shown, width=200, **console)
    assert r"\x1b]0;title\x07 \x9b2J [bold red]no markup[/bold red] [/dim]" in text
    assert text.count(r"mine:save,name=[/dim]\x1b[31m") == 2
    assert "not possible on simulated ranks: [b]" in text
    assert not set("\x1b\x07\x9b") & set(text)


def test_totals_say_what_each_verdict_means():
    lines = lines_of(printed(small_journal()))
    assert "HUNG 2 a rank waited for ever" in lines
    assert "HELD 1 every promise was kept" in lines
    assert lines[-1] == "3 plans, 3 faults fired, 2.0 s, 1.5 plans per second"


def test_several_actions_stand_below_their_place():
    lines = lines_of(printed(journal(result("writer.reset@0=hang", HUNG), result("writer.reset@0=exit(1)"))))
    place = lines.index("writer.reset")
    assert lines[place + 1 : place + 3] == ["hang HUNG ·", "exit(1) HELD ·"]


def test_plans_that_fit_no_row_are_listed():
    lines = lines_of(printed(journal(result("writer.reset@others=hang", HUNG), result(""))))
    assert "HUNG writer.reset@others=hang" in lines
    assert "HELD (no fault)" in lines


def test_a_sweep_that_was_cut_off_says_so():
    assert "3 plans of 9, cut off" in printed(small_journal(planned_count=9))


def test_what_was_not_run_has_a_sign_of_its_own_and_a_legend():
    plan = FaultPlan.parse("writer.storage_meta@1=raise(ValueError)")
    lines = lines_of(printed(small_journal(pending=(plan,), planned_count=4), width=120))
    assert "writer.storage_meta · ?" in lines and "writer.finish:after HELD ·" in lines
    legend = "? the sweep was cut off before that plan · the rank does not come by that place"
    assert legend in lines
    assert legend not in lines_of(printed(small_journal(), width=120))


def test_what_breaks_by_itself_is_told_before_all():
    told = "does not hold with nothing broken (HUNG in 5 of 5 runs)"
    lines = lines_of(printed(journal(result("", HUNG), baseline=Baseline(5, 5, told))))
    assert lines[1] == told
    assert "HUNG (no fault)" in lines


def test_files_that_no_good_checkpoint_refers_to_are_told():
    left = msgspec.structs.replace(result("writer.reset@0=hang"), unreferenced=("__2_0.distcp",))
    line = "after 1 plan files lie beside a good checkpoint that refers to none of them: __2_0.distcp"
    assert line in lines_of(printed(journal(left, result("writer.reset@1=hang")), width=120))
    assert left.to_builtins()["unreferenced"] == ["__2_0.distcp"]


def test_files_that_no_plan_broke_are_told():
    hint = "the function wrote 1 file, which only writer.* and reader.* broke: --points 'fs.*' would break these, too"
    assert hint in lines_of(printed(small_journal(unbroken_file_count=1), width=120))
    assert "--points" not in printed(small_journal())


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("world_size", [16, 100])
def test_a_large_world_fits_a_narrow_terminal(width, world_size):
    results = [
        result(f"writer.set_up_storage_writer@{rank}=hang", MASKED if rank % 2 else HUNG)
        for rank in range(world_size)
    ]
    text = printed(journal(*results, world_size=world_size), width)
    lines = [line for line in text.splitlines() if "faultkit replay" not in line]
    assert max(map(len, lines)) <= width
    matrix = "\n".join(line for line in lines if line.startswith("writer.set_up_storage_writer"))
    assert matrix.count("HUNG") == matrix.count("MASK") == world_size // 2
    assert all(f"rank {rank}" in text for rank in range(world_size))


def test_ranks_that_fared_alike_share_a_column_where_not_all_fit():
    results = [result(f"writer.reset@{rank}=hang", HUNG if rank == 2 else MASKED) for rank in range(8)]
    results += [result("writer.finish@0=hang", MASKED)]
    narrow, wide = (printed(journal(*results, world_size=8), width) for width in (60, 120))
    assert "injected at     rank 0   ranks 1, 3-7   rank 2" in narrow
    assert "writer.reset    MASKED   MASKED         HUNG" in narrow
    assert "writer.finish   MASKED   ·              ·" in narrow
    assert narrow.count("injected at") == 1
    [heading] = [line for line in wide.splitlines() if line.startswith("injected at")]
    assert re.split(r" {2,}", heading.strip()) == ["injected at", *(f"rank {rank}" for rank in range(8))]


def test_a_command_is_never_broken_into_lines():
    plan = f'writer.reset@0=raise(OSError, ENOSPC, "{"long " * 40}text")'
    text = printed(journal(result(plan, HUNG)), width=60)
    command = f"faultkit replay '{plan}' --scenario dcp-save --world 2"
    assert command in [line.strip() for line in text.splitlines()]


def test_what_the_engine_says_is_not_taken_for_markup():
    text = printed(
        journal(result('writer.reset@0=raise(ValueError, "[bold]x[/nope]")', HUNG, "[red]oh[/red] [/x]"))
    )
    assert "[red]oh[/red] [/x]" in text
    assert "[bold]x[/nope]" in text


def test_colours_only_where_the_console_has_them():
    assert "\x1b[" not in printed(small_journal())
    assert "\x1b[" in printed(small_journal(), force_terminal=True, color_system="standard")


def test_the_picture_is_svg_that_asks_nobody_for_anything():
    picture = as_svg(small_journal())
    texts = "".join(ElementTree.fromstring(picture).itertext()).replace("\xa0", " ")
    assert "writer.reset" in texts
    assert "faultkit sweep dcp-save --world 2" in texts
    assert "url(http" not in picture
    assert "@font-face" not in picture
