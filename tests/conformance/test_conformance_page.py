"""The page about conformance lists what the tests list, and its numbers are true."""

from __future__ import annotations

import re

from tests.conformance.disagreements import PLANS, PROGRAMS, SEVERAL
from tests.conformance.spmd_program import PROGRAMS as ALL
from tests.conformance.test_drawn_plans_agree import DRAWS, LONG_DRAWS
from tests.conformance.test_programs_agree import FAMILIES
from tests.helpers.places import page

PAGE = page("conformance.md")


def table(name):
    text = PAGE.partition(f"<!-- {name} -->")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `(.+?)` \| (.+?) \|$", text, re.MULTILINE))


def test_the_tables_are_those_of_the_tests():
    assert table("differences") == {**PROGRAMS, **PLANS}
    assert table("several") == {name: reason for name, (reason, _) in SEVERAL.items()}


def test_the_numbers_are_true():
    assert FAMILIES and len(ALL) > 400
    assert f"{sum(draw[2] for draw in DRAWS)} plans" in PAGE
    assert f"draws {sum(draw[2] for draw in LONG_DRAWS):,} more" in PAGE
