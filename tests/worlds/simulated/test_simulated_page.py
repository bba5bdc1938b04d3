"""The page on the simulated world: its examples run, in order, as one file; its table is the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from faultkit import FaultPlan, PlanError
from faultkit.worlds.simulated.plans import require_carried

PAGE = (Path(__file__).parents[3] / "docs" / "simulated-world.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_example_runs(tmp_path):
    text = "\n".join(EXAMPLES)
    (tmp_path / "test_page.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options], cwd=tmp_path, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert f"{text.count('def test_')} passed" in done.stdout


def test_the_table_tells_what_is_refused():
    rows = re.findall(r"^\| (`.*?) \| .*? \| (.*?) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for actions, nearest in rows:
        for action in re.findall(r"`(.*?)`", actions):
            action = {"limit": "limit(100)"}.get(action, action)
            with pytest.raises(PlanError) as refused:
                require_carried(FaultPlan.parse(f"writer.write_data@1={action}"))
            assert re.findall(r"`(.*?)`", nearest)[0] in str(refused.value)
