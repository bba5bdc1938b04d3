"""The page on resharding: its commands can be given, its tables are the code's."""

from __future__ import annotations

import re
import shlex

import pytest

from faultkit.checkpointers.catalogue import BUILT_IN, find
from faultkit.cli import command
from tests.helpers.places import page

PAGE = page("reshard.md")


@pytest.mark.parametrize("line", re.findall(r"^    faultkit (.*)$", PAGE, re.MULTILINE))
def test_the_commands_shown_can_be_given(line):
    name, *arguments = shlex.split(line)
    assert command.commands[name].make_context(name, arguments).params


def rows(head):
    found = re.search(rf"^\| {re.escape(head)} \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL).group()
    return re.findall(r"^\| (`.*?) \|", found, re.MULTILINE)


def test_the_readers_are_those_of_the_built_in_checkpointers():
    told = {name.strip("`") for name in rows("reader")}
    assert told == {name for text in BUILT_IN.homes for name, _ in find(text).readers}


def test_the_options_are_those_of_the_command():
    told = set(re.findall(r"--[a-z-]+", " ".join(rows("option"))))
    options = {
        name for one in command.commands["reshard"].params for name in one.opts if name.startswith("--")
    }
    assert told == options
