"""A checkpoint that a symbolic link leads to is explored when it is overwritten, too."""

from __future__ import annotations

import os

import pytest

from faultkit import World, crash
from faultkit.repro import crash_file

pytestmark = pytest.mark.slow


def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def put(directory, step, careful=True):
    directory.mkdir(exist_ok=True)
    (directory / f"step-{step}").write_bytes(b"%d" % step * 100)
    if careful:
        sync(directory / f"step-{step}")
        sync(directory)
    os.symlink(f"step-{step}", directory / "latest.tmp")
    os.replace(directory / "latest.tmp", directory / "latest")
    sync(directory)


def load(directory, fill):
    if not os.path.lexists(directory / "latest"):
        return None
    return {"content": (directory / "latest").read_bytes()}


def scenario(careful):
    return crash.Scenario(
        name="latest",
        prepare=lambda directory: put(directory, 1),
        save=lambda directory: put(directory, 2, careful),
        load=load,
    )


@pytest.fixture(scope="module")
def one_rank():
    with World(1) as world:
        yield world


def test_a_link_that_is_replaced_leads_to_the_old_checkpoint_or_to_the_new_one(one_rank):
    found = crash.explore(scenario(careful=True), world=one_rank)
    found.raise_for_violations()
    for count in found.counts:
        assert set(count.verdicts) == {"OLD", "NEW"}


def test_findings_are_kept_with_the_links_of_the_checkpoint_before(one_rank):
    found = crash.explore(scenario(careful=False), world=one_rank)
    assert {finding.verdict for finding in found.findings} == {
        "GARBAGE",
        "ERROR",
    }  # a file empty, or not there
    kept = crash_file.read(crash_file.keep(found, scenario="latest"))
    assert kept.old is not None and kept.old["checkpoint/latest"] == "step-1"
