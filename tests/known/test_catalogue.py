"""Each known defect is recognised where its versions say so, is gone where they do not, and is taken for no other."""

from __future__ import annotations

import contextlib

import msgspec
import pytest

from faultkit import FaultPlan, checkpointers
from faultkit.known.entries import PYTHON, Occurrence, is_within
from faultkit.known.identity import identity_of
from faultkit.known.reading import catalogue
from faultkit.known.sorting import sort
from faultkit.sweep import sweep
from faultkit.sweep.knowing import occurrences, sorted_by
from tests.helpers.known_examples import lacking, shown_by
from tests.helpers.stock import TESTED

CATALOGUE = catalogue()
EXAMPLES = [example for entry in CATALOGUE for example in entry.examples]
EACH = [
    pytest.param(entry, example, id=f"{entry.name}-{example.campaign}-{number}")
    for entry in CATALOGUE
    for number, example in enumerate(entry.examples, 1)
]


@pytest.mark.slow
@pytest.mark.parametrize(("entry", "example"), EACH)
def test_an_entry_is_recognised_in_its_versions_and_gone_in_others(entry, example):
    if why := lacking(example):
        pytest.skip(f"{example.scenario} requires {why[0]}")
    found = shown_by(example, EXAMPLES)
    own = [seen for seen in found if any(pattern.fits(seen) for pattern in entry.patterns)]
    if not entry.applies:
        assert not own
        return
    assert own
    for seen in found:
        assert len([one.name for one in CATALOGUE if one.fits(seen)]) == 1, (seen.identity, seen.evidence)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario", ["dcp.save", "dcp.load", "dcp.overwrite", "dcp.resume", "dcp.prune", "dcp-load"]
)
def test_all_that_a_sweep_of_the_stock_engine_finds_has_a_name(scenario):
    journal = sorted_by(sweep(scenario, world=2, kind="simulated", timeout=20.0), CATALOGUE)
    assert journal.is_accepted, [(str(one.identity), one.evidence) for one in journal.sorted.fresh]
    assert not sorted_by(journal, ()).is_accepted


def fails_before_it_saves(directory):
    import torch
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    if dist.get_rank() == 1:
        (directory.parent / "no-such" / "place").touch()  # the user's own mistake, on one rank
    dcp.save({"weight": torch.ones(4)}, checkpoint_id=directory)


def names_it_before_it_is_there(directory):
    import torch
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    if dist.get_rank() == 0:
        (directory / "latest").write_text("step-1")
    dist.barrier()
    dcp.save({"weight": torch.ones(4)}, checkpoint_id=directory / "step-1")


def swallows(directory):
    import torch.distributed as dist

    with contextlib.suppress(OSError):
        (directory / f"{dist.get_rank()}.bin").write_bytes(b"weights")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "plans"),
    [
        (fails_before_it_saves, [""]),
        (swallows, ['fs.open("*.bin")@1=raise(OSError, EIO)']),
        (names_it_before_it_is_there, ['fs.open("latest")@0=raise(OSError, ENOSPC)']),
    ],
)
def test_a_defect_of_the_users_own_is_never_taken_for_a_known_one(function, plans):
    plans = [FaultPlan.parse(plan) for plan in plans]
    found = occurrences(sweep(function, world=2, kind="simulated", timeout=20.0, plans=plans, probes=False))
    assert found
    assert not [(one, entry.name) for one in found for entry in CATALOGUE if entry.fits(one)]


TWINS = [
    # the same harm by another way
    identity_of("liveness", "HUNG", points=["writer.reset"], where=["train.save"], roles="the others"),
    identity_of(
        "liveness",
        "HUNG",
        points=["call.mine:save"],
        where=["torch.distributed.checkpoint.utils.gather_object"],
        roles="the others",
    ),
    identity_of(
        "intact",
        "LOST_WORK",
        points=["fs.unlink(old.pt)"],
        where=["torch.distributed.checkpoint.utils.all_reduce"],
    ),
    identity_of(
        "crash", "ABSENT", points=["during: unlink(latest)"], actions=["kill"], where=["manager.prune"]
    ),
    identity_of(
        "crash", "ABSENT", points=["returned: rename(latest)"], actions=["power cut"], where=["manager.save"]
    ),
    identity_of(
        "crash",
        "MIX",
        points=["during: write(__*_*.distcp)"],
        actions=["kill"],
        where=["torch.distributed.checkpoint.filesystem.close"],
    ),
    identity_of("history", "LOST_WORK", points=["overwrite: fs.open"], actions=["kill"]),
    identity_of("damage", "WRONG", points=["tensor bytes (model.bin)"], actions=["flip"]),
    identity_of("durable", "SILENT_WRONG", roles="all"),
    identity_of(
        "durable",
        "LOST_WORK",
        points=["fs.write(state.pt)"],
        actions=["raise(OSError, EIO)"],
        thread="helper",
    ),
    identity_of("cause", "MASKED", points=["fs.read(config.json)"], where=["manager.load"]),
    identity_of("leaks", "LEAKED", roles="all"),
]


@pytest.mark.parametrize("identity", TWINS, ids=str)
def test_a_twin_of_the_users_own_is_new(identity):
    seen = Occurrence(identity=identity, evidence="rank 1 was told something", scenario="mine:SAVE.overwrite")
    assert sort([seen], CATALOGUE).fresh == (seen,)


def test_the_catalogue_is_complete_in_itself():
    assert len(CATALOGUE) > 30
    for entry in CATALOGUE:
        assert entry.examples and entry.title and entry.advice and len(entry.title) < 140, entry.name
        assert not entry.issue or entry.issue.startswith("https://github.com/"), entry.name
    names = {one.partition(".")[0] for entry in CATALOGUE for example in entry.examples
             for one in [example.scenario.partition(",")[0]]}  # fmt: skip
    told = {name for name in names if checkpointers.BUILT_IN.has(name)}
    assert "reference" not in told  # which keeps every promise
    assert told >= {"dcp", "dcp-async", "dcp-cached", "dcp-convert", "dcp-fsspec", "dcp-hf", "dcp-rank-local",
                    "dcp-state-dict", "safetensors", "torch-save"}  # fmt: skip


def test_bounds_are_of_versions_that_are_tested():
    for entry in CATALOGUE:
        if entry.engine == "torch":
            from packaging.specifiers import SpecifierSet

            assert any(SpecifierSet(entry.versions).contains(version) for version in TESTED), entry.name
            assert "<" in entry.versions, entry.name  # of what is to come nothing is known
    assert is_within(PYTHON, ">=3.11") and not is_within(PYTHON, "<3.11")


def test_an_entry_of_other_versions_recognises_nothing():
    entry = next(one for one in CATALOGUE if one.name == "dcp-error-of-a-collective")
    identity = identity_of("liveness", "HUNG", points=["comm.gather_object"], roles="the others",
                           where=["torch.distributed.checkpoint.utils.gather_object"])  # fmt: skip
    seen = Occurrence(identity=identity)
    assert entry.fits(seen)
    assert not msgspec.structs.replace(entry, versions="<2").fits(seen)
