"""The page on recording: its examples are tests of this very module; its tables are the code's."""

from __future__ import annotations

import re
from typing import get_args

from faultkit.recording import Operation, Recording
from faultkit.recording.operations import Kind
from faultkit.recording.recording import BACKENDS
from tests.helpers.places import page
from tests.helpers.stock import stock

PAGE = page("recording.md")

# One file, in order, as it stands on the page: pytest collects what it defines, and ranks can import it.
EXAMPLES = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
exec(compile(EXAMPLES, "docs/recording.md", "exec"))
of_2_13 = globals()["test_the_engine_syncs_its_metadata_before_it_is_written"]
globals()[of_2_13.__name__] = stock("<2.14")(of_2_13)


def test_the_page_has_its_examples():
    assert set(re.findall(r"^def (test_\w+)", EXAMPLES, re.MULTILINE)) == {
        "test_a_rank_that_is_killed_leaves_its_operations",
        "test_a_training_script_is_recorded_as_it_is",
        "test_a_writer_below_python_is_noticed",
        "test_nobody_writes_metadata_before_every_rank_has_gathered",
        "test_the_engine_syncs_its_metadata_before_it_is_written",
        "test_what_two_saves_do_to_a_directory",
    }


def test_every_kind_field_and_backend_is_told():
    told = set(re.findall(r"`(\w+)`", PAGE))
    times = {"index", "seconds", "end_seconds"}
    assert {*get_args(Kind), *BACKENDS} <= told
    assert {*Operation.__struct_fields__} - times <= told
    assert {*Recording.__struct_fields__} <= told
