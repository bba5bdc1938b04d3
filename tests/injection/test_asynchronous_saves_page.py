"""The page on asynchronous saves: its examples are tests of this very module; its points and plans are the code's."""

from __future__ import annotations

import re

import pytest
import torch

from faultkit import FaultPlan
from faultkit.plan.points import catalogue
from tests.helpers.places import page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.__version__.startswith("2.13"), reason="the page tells of torch 2.13"),
]

PAGE = page("asynchronous-saves.md")
EXAMPLES = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
exec(compile(EXAMPLES, "docs/asynchronous-saves.md", "exec"))


def test_every_point_of_an_asynchronous_save_is_told():
    told = set(re.findall(r"`(\w+\.\w+)`", PAGE))
    of_the_layers = {str(point) for point in catalogue() if point.layer in ("stager", "executor", "daemon")}
    assert {name for name in told if name.split(".")[0] in ("stager", "executor", "daemon")} == of_the_layers


def test_the_plans_of_the_page_are_canonical():
    lines = [
        line for block in re.findall(r"^```plan\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()
    ]
    assert lines
    for line in lines:
        assert str(FaultPlan.parse(line)) == line
