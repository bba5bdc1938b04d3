"""What a general exploration finds in the stock engine, and that it finds nothing in a writer that is right."""

from __future__ import annotations

import json

import pytest

from faultkit import World, crash
from faultkit.crash.exploration import record_save
from faultkit.interception import shim
from tests.helpers.stock import stock

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_ranks():
    with World(2) as world:
        yield world


@pytest.fixture(scope="module")
def worlds(two_ranks):
    """The world of a size, kept from test to test."""
    made = {2: two_ranks}
    yield lambda size: made.get(size) or made.setdefault(size, World(size))
    for world in made.values():
        world.close()


@pytest.fixture(scope="module")
def explored(two_ranks):
    few = crash.Bound(lost=1, pieces=1)  # of the tests' time; benchmarks/crash_states.py has the rest
    return {
        "dcp-fresh": crash.explore("dcp-fresh", world=two_ranks),
        "dcp-overwrite": crash.explore("dcp-overwrite", world=two_ranks, bound=few),
    }


def found(exploration, verdict, phase, lost):
    """Findings of this verdict and phase whose losses have these words in them, and no others."""
    return [
        finding
        for finding in exploration.findings
        if (finding.verdict, finding.phase) == (verdict, phase)
        and len(finding.lost) == len(lost)
        and all(word in text for word, text in zip(lost, finding.lost, strict=True))
    ]


def test_the_exploration_is_complete_and_says_what_it_did(explored):
    for exploration in explored.values():
        assert exploration.complete and exploration.skipped == 0
        assert exploration.explored > exploration.distinct > 2 * exploration.loaded > 0
        for count in exploration.counts:
            assert count.judged == count.distinct == sum(count.verdicts.values())
            assert count.verdicts["NEW"] >= 1
        assert exploration.seconds < 60


@stock("<2.14")
def test_the_metadata_is_synced_before_its_bytes_are_written(explored):
    (finding,) = found(explored["dcp-fresh"], "ERROR", "returned", ["write(.metadata.tmp"])
    assert set(finding.models) == {"ordered", "weak"}
    assert any("in finish" in line for line in finding.where)


@stock(">=2.14")
def test_the_metadata_is_whole_on_the_disk_before_it_has_its_name(explored):
    for exploration in explored.values():
        assert not found(exploration, "ERROR", "returned", ["write(.metadata.tmp"])


def test_the_directory_is_not_synced_after_the_rename(explored):
    for exploration in explored.values():
        (finding,) = found(exploration, "ABSENT", "returned", ["rename(.metadata.tmp -> .metadata)"])
        assert set(finding.models) == {"ordered", "weak"}
        assert any("filesystem.py" in line and "in rename" in line for line in finding.where)


def test_neither_the_new_directory_nor_the_shards_have_durable_names(explored):
    assert found(explored["dcp-fresh"], "ABSENT", "returned", ["mkdir(checkpoint)"])
    assert found(explored["dcp-fresh"], "ERROR", "returned", ["creation by open(__"])


def test_an_overwrite_destroys_the_old_checkpoint_or_mixes_two_steps_without_an_error(explored):
    exploration = explored["dcp-overwrite"]
    (mix,) = found(exploration, "MIX", "during", [])
    assert "killed" in mix.models and "is new" in mix.detail and "is old" in mix.detail
    (error,) = found(exploration, "ERROR", "during", [])
    assert "killed" in error.models and "open(__" in error.at


def test_between_the_removal_of_the_old_metadata_and_the_rename_there_is_no_checkpoint(explored):
    (finding,) = [f for f in explored["dcp-overwrite"].findings if "unlink(.metadata)" in f.at]
    assert (finding.verdict, finding.lost, finding.allowed) == ("ABSENT", (), ("OLD", "NEW"))
    assert finding.at.startswith("killed after unlink(.metadata) on rank 0, before rename(")


def test_a_finding_can_be_made_again_and_looked_at(explored, tmp_path):
    exploration = explored["dcp-overwrite"]
    for finding in exploration.findings:
        state = crash.rebuild(exploration.recording, finding.state.witness)
        assert state.key == finding.state.key
    state.write_to(tmp_path / "look")
    names = {str(path.relative_to(tmp_path / "look")) for path in (tmp_path / "look").rglob("*")}
    assert names == set(state.tree)


def test_the_report_tells_it_as_text_and_as_json(explored):
    exploration = explored["dcp-overwrite"]
    text = exploration.text()
    assert "MIX (allowed: OLD or NEW) killed" in text
    assert "lost: rename(.metadata.tmp -> .metadata) on rank 0" in text
    told = json.loads(exploration.to_json())
    assert told["complete"] is True and len(told["findings"]) == len(exploration.findings)
    assert {"models", "verdict", "lost", "where", "witness"} <= set(told["findings"][0])
    with pytest.raises(AssertionError, match="MIX"):
        exploration.raise_for_violations()


def test_pruning_changes_no_verdict(worlds):
    scenario = crash.get("dcp-overwrite")
    recording = record_save(scenario, worlds(1))
    explorations = [
        crash.explore(
            scenario, ("killed",), recording=recording, bound=crash.Bound(pieces=1), pruning=pruning
        )
        for pruning in (True, False)
    ]
    pruned, loaded = explorations
    assert [count.verdicts for count in pruned.counts] == [count.verdicts for count in loaded.counts]
    assert [(f.verdict, f.lost) for f in pruned.findings] == [(f.verdict, f.lost) for f in loaded.findings]
    assert pruned.loaded < loaded.loaded


def test_an_error_that_a_helper_thread_swallows_leaves_a_checkpoint_that_cannot_be_loaded(two_ranks):
    plan = 'fs.write("*.distcp", helper)=raise(OSError, EIO)'  # whichever shard it takes
    exploration = crash.explore("dcp-fresh,threads=2", ("killed",), world=two_ranks, plan=plan, workers=1)
    (finding,) = exploration.findings
    assert (finding.verdict, finding.phase, finding.lost) == ("ERROR", "returned", ())
    assert "without any crash" in finding.text()


def save_to_a_path(directory):
    import torch

    directory.mkdir()
    torch.save({"weight": torch.ones(4)}, directory / "weights.pt")  # C++ opens and writes the file


def load_from_a_path(directory):
    import torch

    return torch.load(directory / "weights.pt")


@pytest.mark.skipif(shim.compiler() is None, reason="needs a C compiler")
def test_a_save_that_python_does_not_see_is_recorded_below_it(worlds):
    saved = crash.Scenario(name="to-a-path", save=save_to_a_path, load=load_from_a_path)
    exploration = crash.explore(saved, ("killed",), world=worlds(1), workers=1)
    assert exploration.recording.backend == "preload" and exploration.complete
    (finding,) = exploration.findings
    assert finding.verdict == "ERROR" and "open(weights.pt)" in finding.at


def load_on_ranks(directory, fill):
    """A load that needs its group: every rank has its own half."""
    import torch
    import torch.distributed as dist

    target = torch.full((2,), fill)
    dist.barrier()
    text = (directory / f"half-{dist.get_rank()}").read_text()
    target.fill_(float(text))
    return {"half": target}


def save_old_half(directory):
    save_half(directory, "1")


def save_new_half(directory):
    save_half(directory, "2")


def save_half(directory, text):
    import torch.distributed as dist

    directory.mkdir(exist_ok=True)
    (directory / f"half-{dist.get_rank()}").write_text(text)


def test_a_load_that_needs_its_ranks_is_judged_on_them(two_ranks):
    scenario = crash.Scenario(
        name="halves", save=save_new_half, prepare=save_old_half, load=load_on_ranks, load_ranks=2
    )
    exploration = crash.explore(scenario, ("killed",), world=two_ranks)
    (count,) = exploration.counts
    assert set(count.verdicts) == {"OLD", "NEW", "MIX", "ERROR"}
    (mix,) = found(exploration, "MIX", "during", [])
    assert mix.detail in ("rank 0 NEW, rank 1 OLD", "rank 0 OLD, rank 1 NEW")


def test_ranks_that_find_nothing_say_so_in_their_own_words_and_one_rank_alone_does_not(two_ranks):
    scenario = crash.Scenario(name="halves", save=save_new_half, load=load_on_ranks, load_ranks=2)
    exploration = crash.explore(scenario, ("killed",), world=two_ranks)
    (count,) = exploration.counts
    assert set(count.verdicts) == {"ABSENT", "NEW", "ERROR"}
    assert exploration.findings and all("open(half-" in finding.at for finding in exploration.findings)


def test_a_save_that_raises_without_any_crash_is_an_error(two_ranks):
    from faultkit.exceptions import ScenarioError

    broken = crash.Scenario(name="broken", save=raising, load=raising)
    with pytest.raises(ScenarioError, match=r"its save .*rank 0 raised RuntimeError: no"):
        crash.explore(broken, world=two_ranks)


def raising(directory):
    raise RuntimeError("no")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_control_has_no_violation_in_any_model(size, threads, worlds):
    scenario = crash.get(f"control-overwrite,threads={threads},elements=8")
    world = worlds(size)
    few = crash.Bound(cuts=60, lost=1 if size == 4 else 2)
    exploration = crash.explore(scenario, world=world, bound=few, workers=1)
    assert exploration.findings == (), exploration.text()
    assert exploration.complete
    assert exploration.counts and all(count.verdicts.keys() == {"OLD", "NEW"} for count in exploration.counts)


def test_the_control_has_no_violation_in_a_new_directory(two_ranks):
    exploration = crash.explore("control-fresh", world=two_ranks, workers=1)
    assert exploration.findings == (), exploration.text()
    assert exploration.counts and all(
        count.verdicts.keys() == {"ABSENT", "NEW"} for count in exploration.counts
    )
    assert sum(count.audited for count in exploration.counts) >= 2

    hurried = crash.explore("control-fresh", recording=exploration.recording, budget_seconds=1e-6, workers=1)
    assert not hurried.complete and "NOT complete" in hurried.text()
    with pytest.raises(ValueError, match="budget_seconds must be"):
        crash.explore("control-fresh", recording=exploration.recording, budget_seconds=0)


@pytest.mark.parametrize(
    ("what", "model"),
    [
        ("no-fsync", "ordered"),
        ("no-directory-sync", "weak"),
        ("old-names", "killed"),
        ("removed-too-early", "killed"),
    ],
)
def test_the_control_with_one_thing_left_out_has_one(what, model, two_ranks):
    scenario = crash.Scenario(
        name=what,
        save=careless_new,
        prepare=careless_old,
        load=careless_load,
        options=(("what", what),),
    )
    exploration = crash.explore(scenario, (model,), world=two_ranks, workers=1)
    assert exploration.findings, exploration.text()


def careless_new(directory, what):
    careless(directory, 2, what)


def careless_old(directory, what):
    careless(directory, 1, what)


def careless_load(directory):
    name = (directory / "current").read_text()
    return {"value": [(directory / f"{name}.{rank}").read_bytes() for rank in range(2)]}


def careless(directory, step, what):
    """The control in short, with one step left out."""
    import os

    import torch.distributed as dist

    def write(path, data, sync=True):
        with open(path, "wb") as stream:
            stream.write(data)
            stream.flush()
            if sync:
                os.fsync(stream.fileno())

    def sync_directory():
        descriptor = os.open(directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    directory.mkdir(exist_ok=True)
    name = "same" if what == "old-names" else f"step-{step}"
    rank = dist.get_rank()
    write(directory / f"{name}.{rank}", b"%d" % step * 100, sync=what != "no-fsync")
    dist.barrier()
    if rank == 0:
        old = [path for path in directory.iterdir() if not path.name.startswith((name, "current"))]
        if what == "removed-too-early":
            for path in old:
                path.unlink()
        write(directory / "new", name.encode())
        if what != "no-directory-sync":
            sync_directory()
        os.replace(directory / "new", directory / "current")
        sync_directory()
        for path in old if what != "removed-too-early" else ():
            path.unlink()
    dist.barrier()
