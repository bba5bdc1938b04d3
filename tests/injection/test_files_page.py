"""The page on faults on files: its examples are tests of this very module; its names are the code's."""

from __future__ import annotations

import re

from faultkit.plan.action_catalogue import ACTIONS
from faultkit.plan.points import FILE_POINTS, catalogue
from tests.helpers.places import page

PAGE = page("file-faults.md")

# One file, in order, as it stands on the page: pytest collects what it defines, and ranks can import it.
EXAMPLES = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
exec(compile(EXAMPLES, "docs/file-faults.md", "exec"))


def test_the_page_has_its_examples():
    assert set(re.findall(r"^def (test_\w+)", EXAMPLES, re.MULTILINE)) == {
        "test_a_listing_lags_behind",
        "test_a_native_writer_meets_a_full_disk",
        "test_a_save_that_a_bad_disk_stops_says_so_on_every_rank",
        "test_an_error_in_a_helper_thread_is_lost",
        "test_every_rank_learns_that_a_disk_is_full",
        "test_what_the_stock_engine_makes_of_a_bad_disk",
    }


def test_every_point_and_every_action_on_files_is_told():
    told = set(re.findall(r"`(\w+)(?:\([^`]*)?`", PAGE))
    assert {*FILE_POINTS, *(point.name for point in catalogue() if point.layer == "fs")} <= told
    assert {name for name, spec in ACTIONS.items() if spec.points or name == "limit"} <= told
