"""Faults of requests to S3: what a client asks again for holds, and what is told though it was done does not."""

from __future__ import annotations

import pytest

from faultkit.plan import FaultPlan
from faultkit.sweep import sweep
from tests_engines.test_stores import KEPT
from tests_engines.works import content, load, of_all, save

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The pynvml package:FutureWarning")]


@pytest.mark.parametrize(
    ("name", "plan", "count"),
    [
        ("dcp-s3", 'http.part("*.distcp")@1#1-2=status(503)', 2),  # by a native client
        ("dcp-s3", 'http.post("*.distcp"):after@1#2=reset', 1),
        (
            "dcp-fsspec-s3",
            'http.put("*.distcp")@1#1=status(503); http.put(".metadata"):after@0#1=status(500)',
            2,
        ),
    ],
)
def test_what_the_client_asks_again_for_is_saved(worlds, tmp_path, server, name, plan, count):
    run = worlds(2).run(save, name, tmp_path, 1, plan=plan, server=server, allow_residue=KEPT)
    of_all(run)
    assert len(run.fired) == count and {one.step for one in run.fired} == {"write"}
    assert all(one.path.startswith(str(tmp_path)) for one in run.fired)
    loaded = worlds(1).run(load, name, tmp_path, server=server, allow_residue=KEPT)
    assert of_all(loaded) == (1, of_all(worlds(1).run(content, 1)))


# what is broken, and the twin that holds
OF_WORK = {
    "dcp-s3.overwrite,attempts=2": {
        'http.put(".metadata"):after@0=status(500)': "LOST_WORK",
        'http.put(".metadata"):after@0#1=status(500)': "HELD",
    },
    "dcp-s3.load,attempts=1": {
        'http.get("latest")@0=status(404)': "SILENT_WRONG",
        'http.get("latest")@0=status(503)': "HELD",
        'http.get("*.distcp"):after@1=sever': "HELD",
    },
    "dcp-fsspec-s3.load": {
        "http.list@0=status(404)": "SILENT_WRONG",
        'http.get(".metadata")@0=status(403)': "HELD",
    },
}


@pytest.mark.parametrize("work", OF_WORK)
def test_what_is_told_of_a_request_decides_what_a_rank_believes(work):
    plans = [FaultPlan.parse(text) for text in OF_WORK[work]]
    journal = sweep(work, world=2, timeout=60, plans=plans)  # which starts the server
    assert {str(one.plan): str(one.verdict) for one in journal.results} == OF_WORK[work]


def test_a_rank_that_dies_once_its_request_is_done_is_met_by_the_others(worlds, tmp_path, server):
    plan = 'http.put(".metadata"):after@0=kill(SIGKILL)'
    run = worlds(2).run(save, "dcp-s3", tmp_path, 1, plan=plan, server=server)
    assert [outcome.kind for outcome in run.outcomes.values()] == ["died", "raised"]
    assert run.verdict == "HELD" and (tmp_path / "step-1" / ".metadata").exists()
