"""The examples of the page on the command line run as they stand there."""

from __future__ import annotations

import importlib
import re
import shlex
import sys

import pytest

from faultkit.cli import command, main
from tests.helpers.places import page

pytestmark = pytest.mark.slow

PAGE = page("command-line.md")
MODULE = "\n\n".join(
    block
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    if "def test_" not in block
)
SHOWN = re.findall(r"^\$ faultkit (.*)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def checkpointing(tmp_path_factory):
    """The module of the page, in the current directory; one for all tests, as each new one needs a server anew."""
    directory = tmp_path_factory.mktemp("page")
    (directory / "checkpointing.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.syspath_prepend(str(directory))
        importlib.import_module("checkpointing")
        yield
        del sys.modules["checkpointing"]


@pytest.mark.parametrize("scenario", ["save", "LOAD", "LOAD,strict=false"])
def test_the_scenarios_shown_are_swept(checkpointing, capsys, scenario):
    place = "writer.write_data" if "save" in scenario else "reader.read_data"
    with pytest.raises(SystemExit) as ended:
        main(["sweep", f"checkpointing:{scenario}", "--world", "2", "--points", f"{place}:before"])
    captured = capsys.readouterr()
    assert (ended.value.code, captured.err) == (0, "")
    assert "HELD  2  every promise was kept" in captured.out


@pytest.mark.parametrize("line", SHOWN)
def test_the_commands_shown_can_be_given(line):
    name, *arguments = shlex.split(line)
    assert command.commands[name].make_context(name, arguments).params


def test_each_command_stands_on_the_page():
    told = PAGE.partition("```text\n")[2].partition("```")[0]
    assert {line.split()[1] for line in told.splitlines()} == set(command.commands)
