"""The page on the simulated world: its examples are tests of this very module; its table is the code's."""

from __future__ import annotations

import re

import pytest

from faultkit import FaultPlan, PlanError
from faultkit.worlds.simulated.plans import require_carried
from tests.helpers.places import page

PAGE = page("simulated-world.md")

# One file, in order, as it stands on the page: pytest collects what it defines, and ranks can import it.  Each line has
# the number that it has there: Hypothesis reads the source, and Python 3.12 and later refuse what is none.
EXAMPLES = re.sub(
    r"^```python\n(.*?)^```$|^[^\n]*$",
    lambda found: f"\n{found[1]}" if found[1] else "",
    PAGE,
    flags=re.MULTILINE | re.DOTALL,
)
exec(compile(EXAMPLES, "docs/simulated-world.md", "exec"))


def test_the_page_has_its_examples():
    assert set(re.findall(r"^def (test_\w+)", EXAMPLES, re.MULTILINE)) == {
        "test_a_hang_is_a_fact",
        "test_a_missing_barrier_is_found",
        "test_an_hour_costs_nothing",
        "test_every_schedule",
        "test_the_same_again",
        "test_whoever_goes_first",
    }


def test_the_table_tells_what_is_refused():
    rows = re.findall(r"^\| (`.*?) \| .*? \| (.*?) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for actions, nearest in rows:
        for action in re.findall(r"`(.*?)`", actions):
            action = {"limit": "limit(100)"}.get(action, action)
            with pytest.raises(PlanError) as refused:
                require_carried(FaultPlan.parse(f"writer.write_data@1={action}"))
            assert re.findall(r"`(.*?)`", nearest)[0] in str(refused.value)
