"""A pattern of the step that finds nothing would make every resumption lost work: it is refused, and no other is."""

from __future__ import annotations

import pytest

from faultkit import scripts
from faultkit.cli import main

pytestmark = pytest.mark.slow

TRAINING = """
import os, sys
out = sys.argv[1]
os.makedirs(out, exist_ok=True)
steps = sorted(int(name[5:]) for name in os.listdir(out) if name.startswith("ckpt-"))
step = STARTS_FROM
if step:
    print("resumed from step", step)
for step in range(step + 1, 4):
    with open(f"{out}/new", "w") as stream:
        stream.write(str(step))
    os.replace(f"{out}/new", f"{out}/ckpt-{step}")
"""


@pytest.fixture
def script(tmp_path):
    def write(starts_from):
        (tmp_path / "train.py").write_text(TRAINING.replace("STARTS_FROM", starts_from))
        return str(tmp_path / "train.py")

    return write


def test_a_pattern_that_finds_nothing_anywhere_is_refused_in_a_line(capfd, script):
    command = ["python", script("max(steps, default=0)"), "{out}"]
    with pytest.raises(SystemExit) as ended:
        main(["crash", "--step", r"Resumed at (\d+)", "--checkpoints", "ckpt-*", "--", *command])
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert (
        err.count("\n") == 1 and r"the pattern of the step 'Resumed at (\\d+)' finds nothing in the " in err
    )


@pytest.mark.parametrize(
    ("starts_from", "lost"), [("max(steps, default=0)", False), ("min(steps, default=0)", True)]
)
def test_a_job_that_tells_its_step_only_where_it_resumes_is_explored(script, starts_from, lost):
    job = scripts.Job(
        ("python", script(starts_from), "{out}"), step=r"resumed from step (\d+)", checkpoints="ckpt-*"
    )
    found = scripts.explore(job, models=("killed",))
    assert found.complete
    assert any("LostWork" in finding.detail for finding in found.findings) == lost, found.text()
