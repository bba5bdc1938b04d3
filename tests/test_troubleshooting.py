"""What the pages of the documentation say of faultkit's own words and actions is so."""

from __future__ import annotations

import re

import pytest

from faultkit.plan.action_catalogue import ACTIONS
from tests.helpers.places import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
SOURCES = "\n".join(
    re.sub(r'"\s*\n\s*f?"', "", path.read_text())
    for folder in ("faultkit", "plugins")
    for path in (ROOT / folder).rglob("*.py")
)
OF_OTHERS = {"Cannot re-initialize CUDA in forked subprocess", "No space left on device"}
ROWS = [row for row in PAGE.splitlines() if row.startswith("| ") and not row.startswith("| you see")]


@pytest.mark.parametrize(
    "words", sorted(set(re.findall(r'"([^"]+)"', "\n".join(row.split("|")[1] for row in ROWS))))
)
def test_what_is_quoted_is_said(words):
    assert words in OF_OTHERS or words in SOURCES


def test_every_option_and_variable_that_helps_is_there():
    named = set(re.findall(r"`(?:[^`]* )?(--[a-z-]+|FAULTKIT_[A-Z]+)", PAGE)) - {"--cap-add", "--shm-size"}
    assert named
    assert not {one for one in named if one not in SOURCES}


def test_every_action_stands_for_something():
    page = (ROOT / "docs" / "actions-in-a-cluster.md").read_text()
    rows = [row.split("|") for row in page.splitlines() if row.startswith("| `")]
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row[1])]
    assert sorted(told) == sorted(ACTIONS)
    assert all(len(row) == 5 and len(row[2]) > 20 for row in rows)
