"""The page on the life of a job: its examples are tests of this very module; its tables are the code's."""

from __future__ import annotations

import re

import hypothesis
import pytest

from faultkit.history.draw import HISTORY_RULES
from faultkit.history.managers import Manager
from faultkit.history.model import Refusal
from faultkit.history.steps import WORDS
from tests.helpers.places import page

pytestmark = pytest.mark.slow

PAGE = page("checkpoint-history.md")

# One file, in order, as it stands on the page: pytest collects what it defines, and ranks can import it.
EXAMPLES = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
SHORTER = EXAMPLES.replace("max_examples=10)", "max_examples=2)").replace("=5)", "=1)")
OWN_PROFILE = hypothesis.settings.get_current_profile_name()
hypothesis.settings.register_profile(
    "history page", hypothesis.settings(derandomize=True, database=None, deadline=None)
)
hypothesis.settings.load_profile("history page")
exec(compile(SHORTER, "docs/checkpoint-history.md", "exec"))
hypothesis.settings.load_profile(OWN_PROFILE)


@pytest.fixture(scope="module", autouse=True)
def _the_same_examples_each_time():
    hypothesis.settings.load_profile("history page")  # also for the test cases that the examples make
    yield
    hypothesis.settings.load_profile(OWN_PROFILE)


def test_the_page_has_its_examples():
    tests = re.findall(r"^(?:def (?=test_)|(?=Test\w+ = ))(\w+)", SHORTER, re.MULTILINE)
    assert len(set(tests)) == 6 and set(tests) < set(globals())


def table(head):
    found = re.search(rf"^\| {re.escape(head)} \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL).group()
    return tuple(re.findall(r'^\| `"?(\w+)', found, re.MULTILINE))


def test_the_tables_are_those_of_the_code():
    assert table("rule") == HISTORY_RULES
    assert table("`may_refuse`") == ("may_refuse", *map(str, Refusal))
    assert table("function") == Manager.__struct_fields__[:4]


def test_the_steps_of_a_history_are_named():
    assert re.findall(r'`\("(\w+)",', PAGE) == list(WORDS)
