"""The page about growth: its code runs, its commands can be given, its options are those there are."""

from __future__ import annotations

import re
import shlex

import pytest

from faultkit import cli
from faultkit.checks.growth import MEASURES
from tests.helpers.places import page

pytestmark = pytest.mark.slow

PAGE = page("growth.md")
COMMANDS = re.findall(r"^\$ (faultkit growth.*)$", PAGE, re.MULTILINE)
[CODE] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_code_prints_what_it_says(capsys):
    exec(CODE, {})
    printed = capsys.readouterr().out.splitlines()
    said = re.findall(r"^print.*#  ?(.*)$", CODE, re.MULTILINE)
    assert printed == said


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_can_be_given(line):
    _, name, *arguments = shlex.split(line)
    context = cli.command.commands[name].make_context(name, arguments)
    assert context.params["saves"] in (200, 500)


def test_every_option_is_on_the_page():
    options = {option for parameter in cli.command.commands["growth"].params for option in parameter.opts}
    assert {option for option in options if option.startswith("--")} == set(
        re.findall(r"`(--[a-z-]+)", PAGE.partition("In Python:")[0])
    )


def test_every_measure_stands_in_the_table_with_its_floor():
    table = PAGE.partition("## What is counted")[2].partition("##")[0]
    rows = re.findall(r"^\| (`.*?) \|.*\| (.*?) \|$", table, re.MULTILINE)
    told = {
        name: floor
        for names, floors in rows
        for name, floor in zip(re.findall(r"`(\w+)`", names), floors.split(", "), strict=True)
    }
    assert told == {
        name: f"{measure.floor / 1024:g} KiB" if measure.is_bytes else f"{measure.floor:g}"
        for name, measure in MEASURES.items()
    }
