"""The frame of the benchmarks: which figures are measured, and how a page gets those of one run.  Measures nothing."""

from __future__ import annotations

import pytest

from benchmarks import catalogue, run
from tests.helpers.places import ROOT, page

ROW = ("a save | a load", "1 s", "2 s", "0.50x")


def test_every_figure_is_in_one_group_and_the_quick_and_slow_ones_exist():
    names = [figure.__name__ for group in catalogue.GROUPS.values() for figure in group]
    assert len(names) == len(set(names)) == len(catalogue.named())
    assert set(catalogue.QUICK) < set(names)
    assert set(catalogue.SLOW) < set(names)
    assert not catalogue.QUICK & catalogue.SLOW


def test_slow_figures_are_measured_only_by_name():
    assert not set(run.chosen([], False)) & catalogue.SLOW
    assert "simulated_four_thousand" not in run.chosen(["scale"], False)
    assert run.chosen(["simulated_four_thousand"], False) == ("simulated_four_thousand",)
    assert set(run.chosen([], True)) == catalogue.QUICK
    assert set(run.chosen(["feel"], True)) < catalogue.QUICK


def test_a_name_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(
        ValueError, match=r"^benchmarks: no 'sped'; there are feel, throughput, scale, import_cost"
    ):
        run.chosen(["sped"], False)


def test_the_table_replaces_what_stood_between_the_marks_and_nothing_else():
    first = run.page_with(
        f"before\n{run.BEGIN}\nold\n{run.END}\nafter\n", {"large_save": ROW}, "torch 1, 2 cores"
    )
    assert first.startswith(f"before\n{run.BEGIN}\ntorch 1, 2 cores.\n\n**Scale**\n")
    assert first.endswith(f"\n{run.END}\nafter\n")
    assert "\n| a save / a load | 1 s | 2 s | 0.50x |\n" in first
    assert "old" not in first
    assert run.page_with(first, {"large_save": ROW}, "torch 1, 2 cores") == first


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="the page must have"):
        run.page_with("nothing", {}, "")


def test_the_page_has_the_marks_the_groups_and_only_figures_of_the_catalogue():
    text = page("cost.md")
    run.page_with(text, {}, "")
    assert all(f"| `{group}` |" in text for group in catalogue.GROUPS)
    assert all(f"`{name}`" in text for name in catalogue.SLOW)
    assert "\nbench-quick: setup\n" in (ROOT / "Makefile").read_text()
