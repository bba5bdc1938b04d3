"""The page about scaling: its code runs, its commands can be given, its options are those there are."""

from __future__ import annotations

import re
import shlex

import pytest

from faultkit import cli
from tests.helpers.places import page

pytestmark = pytest.mark.slow

PAGE = page("scale.md")
COMMANDS = re.findall(r"^\$ (faultkit scale.*)$", PAGE, re.MULTILINE)
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
    assert context.params["high"] in (64, 1024, 2048)


def test_every_option_is_on_the_page():
    options = {option for parameter in cli.command.commands["scale"].params for option in parameter.opts}
    assert {option for option in options if option.startswith("--")} == set(
        re.findall(r"`(--[a-z]+)", PAGE.partition("In Python:")[0])
    )
