"""The tutorial is true: its code is that of the files it names, its commands print what it shows."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.helpers.brisk import __file__ as BRISK
from tests.helpers.consoles import Console, consoles, is_shown, is_violation, run
from tests.helpers.places import ROOT

MANAGERS = ROOT / "examples" / "checkpoint_manager"
PAGES = sorted((ROOT / "docs" / "tutorial").glob("[0-9]*.md"))
CONSOLES = [(page.stem, console) for page in PAGES for console in consoles(page.read_text())]


@pytest.fixture
def folder(tmp_path):
    for path in MANAGERS.glob("*.py"):
        shutil.copy(path, tmp_path)
    shutil.copy(BRISK, tmp_path / "conftest.py")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:randomly -p no:cacheprovider\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "console", [console for _, console in CONSOLES], ids=[f"{page[0]}-{c.command}" for page, c in CONSOLES]
)
def test_a_command_prints_what_is_shown(console, folder):
    run(console, folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_is_that_of_the_file_it_names(page):
    text = page.read_text()
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert blocks
    for block in blocks:
        name = re.findall(r"`(\w+\.py)`", text[: block.start()])[-1]
        source = (MANAGERS / name).read_text()
        for piece in block[1].split("\n\n\n"):
            assert piece.rstrip() in source, (name, piece)


def test_every_version_is_shown_broken_and_mended():
    shown = " ".join(console.command for _, console in CONSOLES)
    assert {path.stem for path in MANAGERS.glob("*.py")} == set(re.findall(r"(\w+)(?::MANAGER|\.py)", shown))
    assert [page.name[0] for page in PAGES] == ["1", "2", "3", "4", "5"]
    broken = {
        word for page, console in CONSOLES if is_violation(console.shown) for word in console.command.split()
    }
    assert {"hangs:MANAGER", "tears:MANAGER", "splits:MANAGER.load", "rots:MANAGER.fallback"} <= broken


def test_the_table_of_the_managers_is_what_the_tutorial_shows():
    table = re.findall(
        r"^\| \[(\w+\.py)\].*\| `((?:faultkit|python) .*?)` \| `(\w+)` \|$",
        (MANAGERS / "README.md").read_text(),
        re.MULTILINE,
    )
    assert len(table) == 5
    for file, command, word in table:
        [shown] = {console.shown for _, console in CONSOLES if console.command == command}
        assert file.removesuffix(".py") in command and word in shown


@pytest.mark.parametrize(
    ("shown", "printed", "is_same"),
    [
        ("a b\n", "first\na    b\nlast\n", True),
        ("a\n...\nc\n", "a\nb\nc\n", True),
        ("8 passed in ...\n", "8 passed in 3 s", True),
        ("c\n...\na\n", "a\nb\nc\n", False),
        ("a\nc\n", "a\nb\nc\n", False),
        ("HELD  4", "HELD  5", False),
    ],
)
def test_what_is_shown_must_be_printed(shown, printed, is_same):
    assert is_shown(shown, printed) is is_same


def test_a_block_that_lies_is_found(tmp_path):
    run(Console("faultkit --version", "faultkit ..."), tmp_path)
    with pytest.raises(AssertionError):
        run(Console("faultkit --version", "HUNG"), tmp_path)
    with pytest.raises(AssertionError):
        run(Console("faultkit --version --nonsense", ""), tmp_path)
