"""The page on crash states: its examples run, in order, as one file; its tables are the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from faultkit import crash
from faultkit.crash import state

PAGE = (Path(__file__).parents[2] / "docs" / "crash-states.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_example_runs(tmp_path):
    text = "\n".join(EXAMPLES)
    (tmp_path / "test_page.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    quiet = [word for name in ("cacheprovider", "randomly", "xdist") for word in ("-p", f"no:{name}")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *quiet],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "5 passed" in done.stdout


def test_the_tables_are_those_of_the_code():
    models = re.search(r"\| model \|.*?\n\n", PAGE, re.DOTALL).group()
    assert tuple(re.findall(r"^\| `(\w+)` \|", models, re.MULTILINE)) == crash.MODELS
    verdicts = re.search(r"\| verdict \|.*?\n\n", PAGE, re.DOTALL).group()
    words = {name for name in state.__all__ if name.isupper()}
    assert set(re.findall(r"^\| `(\w+)` \|", verdicts, re.MULTILINE)) == words


def test_the_bounds_are_those_of_the_code():
    bound = crash.Bound()
    for name in ("lost", "kept", "pieces", "cuts"):
        assert re.search(rf"`{name}`[^`]*?\({getattr(bound, name)}\)", PAGE, re.DOTALL), name
