"""A script that renames its checkpoint from TMPDIR is crashed as what it does: a rename, not a copy."""

from __future__ import annotations

import pytest

from faultkit import scripts
from faultkit.repro import crash_file

pytestmark = pytest.mark.slow

TRAINING = """
import json, os, sys, tempfile
path, step = sys.argv[1] + "/state", 0
os.makedirs(sys.argv[1], exist_ok=True)
if os.path.exists(path):
    step = json.load(open(path))
while step < 2:
    step += 1
    with tempfile.NamedTemporaryFile("w", delete=False) as stream:
        json.dump(step, stream)
        {sync}
    os.replace(stream.name, path)
print("end", step)
"""


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    found = {}
    for name, sync in (("synced", "stream.flush(); os.fsync(stream.fileno())"), ("not synced", "pass")):
        script = tmp_path_factory.mktemp("script") / "train.py"
        script.write_text(TRAINING.replace("{sync}", sync))
        job = scripts.Job(("python", str(script), "{out}"), values=r"end (\d+)")
        found[name] = job, scripts.explore(job, models=("killed", "ordered"))
    return found


def test_a_rename_from_the_temporary_directory_survives_a_kill(explored):
    for _, found in explored.values():
        assert found.complete and found.skipped == 0
        assert set(found.counts[0].verdicts) == {"NEW"}
        kinds = [one.kind for one in found.recording.operations]
        assert kinds.count("rename") == 2 and kinds.count("write") == 2
    assert not explored["synced"][1].findings


def test_a_power_cut_after_such_a_rename_without_a_sync_is_found(explored):
    job, found = explored["not synced"]
    assert [finding.verdict for finding in found.findings] == ["ERROR"]
    assert "write(tmp/tmp" in found.findings[0].lost[0] and "JSONDecodeError" in found.findings[0].detail
    kept = crash_file.read(crash_file.keep(found, job=job))  # and it can be made again
    assert kept.to_scenario().load.temporary == "tmp"
