"""The page on crash states: its examples are tests of this very module; its tables are the code's."""

from __future__ import annotations

import re

import pytest

from faultkit import crash
from faultkit.crash.enumeration import state
from tests.helpers.places import page

pytestmark = pytest.mark.slow

PAGE = page("crash-states.md")

# One file, in order, as it stands on the page: pytest collects what it defines, and ranks can import it.
EXAMPLES = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
exec(compile(EXAMPLES, "docs/crash-states.md", "exec"))


def test_the_page_has_its_examples():
    assert set(re.findall(r"^def (test_\w+)", EXAMPLES, re.MULTILINE)) == {
        "test_a_file_written_in_place_is_lost_when_a_rank_is_killed",
        "test_a_finding_can_be_looked_at",
        "test_a_short_recording_can_be_explored_exhaustively",
        "test_the_control_survives",
        "test_the_stock_engine_does_not_survive_a_power_cut",
    }


def test_the_tables_are_those_of_the_code():
    models = re.search(r"\| model \|.*?\n\n", PAGE, re.DOTALL).group()
    assert tuple(re.findall(r"^\| `(\w+)` \|", models, re.MULTILINE)) == crash.MODELS
    verdicts = re.search(r"\| verdict \|.*?\n\n", PAGE, re.DOTALL).group()
    words = {name for name in state.__all__ if name.isupper()}
    assert set(re.findall(r"^\| `(\w+)` \|", verdicts, re.MULTILINE)) == words


def test_the_bounds_are_those_of_the_code():
    bound = crash.Bound()
    for name in ("lost", "kept", "pieces", "cuts"):
        assert re.search(rf"`{name}`[^`]*?\({getattr(bound, name)}\)", PAGE, re.DOTALL), name
