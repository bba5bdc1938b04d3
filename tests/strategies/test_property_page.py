"""The page on property-based testing: its examples are tests of this very module; its tables are the code's."""

from __future__ import annotations

import re
from unittest import mock

import hypothesis
import pytest

from faultkit import strategies
from faultkit.strategies import profiles
from faultkit.strategies.sites import promised_sites
from tests.helpers.places import page

pytestmark = pytest.mark.slow

PAGE = page("property-based-testing.md")

# One file, in order, as it stands on the page: pytest collects what it defines, and ranks can import it.
EXAMPLES = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
OWN_PROFILE = hypothesis.settings.get_current_profile_name()
hypothesis.settings.register_profile("property page", hypothesis.settings(max_examples=3))
with mock.patch.dict(hypothesis.settings._profiles):  # the page registers some, and ends by loading one
    hypothesis.settings.load_profile("property page")
    exec(compile(EXAMPLES, "docs/property-based-testing.md", "exec"))
hypothesis.settings.load_profile(OWN_PROFILE)


def test_the_page_has_its_examples():
    names = re.findall(r"^def (test_\w+)", EXAMPLES, re.MULTILINE)
    assert len(names) == len(set(names)) == 10 and set(names) < set(globals())
    tests = [globals()[name] for name in names if hypothesis.is_hypothesis_test(globals()[name])]
    assert {test._hypothesis_internal_use_settings.max_examples for test in tests} == {3, 20}


def test_the_tables_are_those_of_the_code():
    families = re.search(r"\| family \|.*?\n\n", PAGE, re.DOTALL).group()
    assert tuple(re.findall(r"^\| `(\w+)` \|", families, re.MULTILINE)) == strategies.ERROR_FAMILIES
    made = re.search(r"\| profile \|.*?\n\n", PAGE, re.DOTALL).group()
    assert tuple(re.findall(r"^\| `(\w+)` \|", made, re.MULTILINE)) == profiles.NAMES


def test_the_points_drawn_by_default_are_listed_in_the_order_of_calls():
    for op in ("save", "load"):
        text = re.search(rf"\* of a {op}: (.*?)[;.]\n", PAGE, re.DOTALL).group(1)
        names = [site.point.partition(".")[2] for site in promised_sites(op) if site.moment == "before"]
        assert list(dict.fromkeys(re.findall(r"`(\w+)`", text))) == names
