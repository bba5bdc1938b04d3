"""The page on the life of a job: its examples run, in order, as one file; its tables are the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from faultkit.strategies.history.draw import HISTORY_RULES
from faultkit.strategies.history.managers import Manager
from faultkit.strategies.history.model import Refusal
from faultkit.strategies.history.steps import WORDS

PAGE = (Path(__file__).parents[3] / "docs" / "checkpoint-history.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_example_runs(tmp_path):
    head = (
        "import hypothesis\n"
        "hypothesis.settings.register_profile('same', derandomize=True, database=None)\n"
        "hypothesis.settings.load_profile('same')\n"
    )
    text = "\n".join(EXAMPLES).replace("max_examples=10)", "max_examples=2)").replace("=5)", "=1)")
    (tmp_path / "test_page.py").write_text(head + text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    count = text.count("def test_") + len(re.findall(r"^Test\w+ = ", text, re.MULTILINE))
    assert f"{count} passed" in done.stdout
    assert count == 6


def table(head):
    found = re.search(rf"^\| {re.escape(head)} \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL).group()
    return tuple(re.findall(r'^\| `"?(\w+)', found, re.MULTILINE))


def test_the_tables_are_those_of_the_code():
    assert table("rule") == HISTORY_RULES
    assert table("`may_refuse`") == ("may_refuse", *map(str, Refusal))
    assert table("function") == Manager.__struct_fields__[:4]


def test_the_steps_of_a_history_are_named():
    assert re.findall(r'`\("(\w+)",', PAGE) == list(WORDS)
