"""The page on resuming: its examples are tests of this very module, and its tables the code's."""

from __future__ import annotations

import inspect
import re

import pytest

from faultkit import Trainer
from faultkit.cli import command
from faultkit.resume import resume as run_resume
from tests.helpers.places import page

pytestmark = pytest.mark.slow

PAGE = page("resume.md")

# One file, in order, as it stands on the page: pytest collects what it defines, and ranks can import it.
exec(
    compile(
        "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)),
        "docs/resume.md",
        "exec",
    )
)


def test_the_page_names_the_functions_of_a_trainer():
    told = re.findall(r"^\| `(\w+)\((.*?)\)` \|", PAGE, re.MULTILINE)
    assert [name for name, _ in told] == ["start", "step", "save", "load"]
    docstring = inspect.getdoc(Trainer)
    for name, arguments in told:
        assert f"``{name}({arguments})``" in docstring


def test_the_tolerance_is_that_of_the_code():
    [told] = re.findall(r"the tolerance is ([\d.]+) of", PAGE)
    assert float(told) == inspect.signature(run_resume).parameters["tolerance"].default
    [option] = [one for one in command.commands["resume"].params if one.name == "tolerance"]
    assert float(told) == option.default
