"""A sweep on the real things: a Ray cluster, submitit's local jobs and Slurm, a dask cluster, processes."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

import pytest

from faultkit.exceptions import HarnessError
from faultkit.sweep import sweep
from faultkit.sweep.dispatch import PLANS_MIN
from tests.helpers.work_in_chunks import PLANS, deadly, swept, told

SIMULATED = {"world": 2, "kind": "simulated"}


@contextlib.contextmanager
def dask_cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as cluster:
        yield f"dask:{cluster.scheduler_address}"


@contextlib.contextmanager
def raylets():
    """A cluster of two raylets, to which a sweep connects."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        yield f"ray:{cluster.address}"
    finally:
        ray.shutdown()
        cluster.shutdown()


@contextlib.contextmanager
def slurm():
    pytest.importorskip("submitit")
    if (
        shutil.which("sbatch") is None
        or subprocess.run(["sinfo"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Slurm runs here: Debian's slurm-wlm, with a slurmctld, a slurmd and munged")
    yield "submitit:cluster=slurm,timeout_min=5"


@contextlib.contextmanager
def named(text, package=None):
    if package is not None:
        pytest.importorskip(package)
    yield text


PLACES = {
    "processes": lambda: named("processes"),
    "ray": lambda: named("ray", "ray"),
    "raylets": raylets,
    "local jobs": lambda: named("submitit:cluster=local,timeout_min=5", "submitit"),
    "slurm": slurm,
    "dask": dask_cluster,
}


@pytest.fixture(params=PLACES)
def executor(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where jobs keep what they are given
    with PLACES[request.param]() as text:
        yield text
    assert not list(tmp_path.glob(".faultkit-jobs-*"))


@pytest.fixture(scope="module")
def whole():
    return sweep("dcp-save", **SIMULATED)


def test_chunks_come_to_what_one_world_comes_to(executor, whole):
    found = sweep("dcp-save", **SIMULATED, executor=executor, jobs=2)
    assert told(found) == told(whole) and found.totals == whole.totals and not found.is_cut_off


def test_the_chunk_of_a_worker_that_died_runs_again(executor, tmp_path):
    found = swept(deadly(tmp_path / "notes", 1), executor=executor, jobs=1)
    assert [result.plan for result in found.results] == PLANS and not found.abandoned
    assert len(list((tmp_path / "notes").iterdir())) == 1


@pytest.mark.parametrize("executor", ["processes", "ray", "local jobs"], indirect=True)
def test_a_chunk_that_kills_three_workers_is_left_and_the_others_go_on(executor, tmp_path):
    found = swept(deadly(tmp_path / "notes", 3), executor=executor, jobs=1)
    assert PLANS_MIN <= len(found.abandoned) < len(PLANS)
    assert [*found.abandoned, *(result.plan for result in found.results)] == PLANS


@pytest.mark.parametrize(
    ("text", "package"),
    [("ray:127.0.0.1:1", "ray"), ("dask:tcp://127.0.0.1:1", "distributed")],
)
def test_a_cluster_that_is_not_there_is_a_line(text, package, monkeypatch):
    pytest.importorskip(package)
    if package == "distributed":
        monkeypatch.setattr("faultkit.sweep.executors.on_dask.CONNECT_SECONDS_MAX", 2.0)
    with pytest.raises(HarnessError, match=r"^no (Ray cluster|dask scheduler) at ") as told_of:
        swept(deadly_not, executor=text)
    assert "\n" not in str(told_of.value)


def deadly_not(directory):
    """Saves nothing."""
