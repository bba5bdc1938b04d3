"""Work is lost where a job had a checkpoint, went on, and has none after a crash: also one that it removed itself."""

from __future__ import annotations

import pytest

from faultkit import scripts
from faultkit.repro import crash_file

pytestmark = pytest.mark.slow

TRAINING = """
import json, os, shutil, sys
out = sys.argv[1]
os.makedirs(out, exist_ok=True)
steps = sorted(int(name[5:]) for name in os.listdir(out) if os.path.exists(f"{out}/{name}/done"))
step = steps[-1] if steps else 0
total = json.load(open(f"{out}/ckpt-{step}/state")) if steps else 0
print("resumed from step", step)
def remove():
    for name in os.listdir(out):
        if name != f"ckpt-{KEPT}":
            shutil.rmtree(f"{out}/{name}")
def save():
    os.makedirs(f"{out}/ckpt-{step}", exist_ok=True)
    for name in ("state", "done"):
        with open(f"{out}/ckpt-{step}/{name}", "w") as stream:
            json.dump(total, stream)
while step < 2:
    step, total = step + 1, total + step + 1
    ORDER
print("total", total)
"""


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    found = {}
    for name, kept, order in (
        ("removes first", "none", "remove(); save()"),
        ("saves first", "{step}", "save(); remove()"),
    ):
        script = tmp_path_factory.mktemp("script") / "train.py"
        script.write_text(TRAINING.replace("{KEPT}", kept).replace("ORDER", order))
        job = scripts.Job(
            ("python", str(script), "{out}"),
            values=r"total (\S+)",
            step=r"from step (\d+)",
            checkpoints="ckpt-*",
        )
        found[name] = job, scripts.explore(job, models=("killed",))
    return found


def test_a_job_that_removes_its_only_checkpoint_before_it_writes_the_next_has_lost_work(explored):
    job, found = explored["removes first"]
    lost = [finding for finding in found.findings if "LostWork" in finding.detail]
    assert [(finding.verdict, finding.allowed) for finding in lost] == [("ERROR", ("NEW", "ABSENT"))]
    assert (
        "resumed from step 0, although the job had completed the checkpoint of step 1 and gone on"
        in lost[0].detail
    )
    assert "killed after unlink(ckpt-1/" in lost[0].at
    assert found.complete and sum(found.totals.values()) == found.distinct
    kept = crash_file.read(crash_file.keep(found, job=job))
    assert [one.acknowledged for one in kept.findings if "LostWork" in one.text] == [1]


def test_a_job_that_removes_the_old_checkpoint_when_it_has_the_new_one_has_lost_none(explored):
    _, found = explored["saves first"]
    assert found.complete and not found.findings, found.text()
