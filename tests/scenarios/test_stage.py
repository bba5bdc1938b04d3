"""Scenarios on real ranks: they hold without a fault, and no run sees what another one left."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import pytest

from faultkit import Returned, World, scenarios
from faultkit.scenarios import Scenario, ScenarioError, Stage


@pytest.fixture(scope="module")
def world():
    with World(2) as world:
        yield world


def count_files(directory, leave=0):
    import torch.distributed as dist

    found = sorted(path.name for path in directory.iterdir())
    dist.barrier()
    for number in range(leave):
        (directory / f"left-{dist.get_rank()}-{number}").write_text("")
    return str(directory), found


def put_one_file(directory):
    import torch.distributed as dist

    if dist.get_rank() == 0:
        (directory / "prepared").write_text("")


def save_something_else(directory, coordinator=0):
    import torch.distributed.checkpoint as dcp

    from faultkit.scenarios import state

    other = state.filled()
    other["replicated"] += 1
    with state.deprecations_ignored():
        dcp.save(other, checkpoint_id=directory)


def fail_on_rank_one(directory):
    import torch.distributed as dist

    if dist.get_rank() == 1:
        raise RuntimeError("no disk here")


@pytest.mark.parametrize("text", ["dcp-save", "dcp-save,coordinator=1", "dcp-load", "dcp-load,coordinator=1"])
def test_a_built_in_scenario_holds_and_prints_nothing(world, text):
    with Stage(scenarios.get(text)) as stage:
        run = stage.run(world)
    assert run.violations == (), run.story()
    assert all(isinstance(outcome, Returned) for outcome in run.outcomes.values())
    assert run.output == {0: "", 1: ""}


@pytest.mark.parametrize("operation", ["save", "load"])
def test_the_option_chooses_the_coordinator(world, operation):
    with Stage(scenarios.get(f"dcp-{operation},coordinator=1")) as stage:
        assert stage.run(world).coordinator == 1


def test_a_coordinator_beyond_the_world_is_refused_on_every_rank(world):
    with Stage(scenarios.get("dcp-save,coordinator=2")) as stage:
        run = stage.run(world)
    assert "must be a rank of the world, 0..1 (got 2)" in run.outcomes[0].message
    assert "must be a rank of the world, 0..1 (got 2)" in run.outcomes[1].message


def test_a_load_of_wrong_values_is_noticed(world):
    with Stage(msgspec.structs.replace(scenarios.DCP_LOAD, prepare=save_something_else)) as stage:
        run = stage.run(world)
    assert "not what was saved: replicated" in run.outcomes[0].message
    assert run.violations


@pytest.mark.parametrize("point", ["app.state_dict", "planner.resolve_data", "fs.create_stream"])
def test_a_save_comes_by_the_points_of_other_layers(world, point):
    with Stage(scenarios.DCP_SAVE) as stage:
        run = stage.run(world, f"{point}=delay(0)")
    assert {fired.rank for fired in run.fired} == {0, 1}


def test_every_run_has_a_directory_of_its_own_with_what_was_prepared(world):
    # of the options, what prepares gets those that it takes: here none
    scenario = Scenario(name="files", function=count_files, prepare=put_one_file, options=(("leave", 2),))
    with Stage(scenario) as stage:
        runs = [stage.run(world) for _ in range(2)]
        directories = {run.outcomes[rank].value[0] for run in runs for rank in run.outcomes}
        assert len(directories) == 2
        assert [run.outcomes[0].value[1] for run in runs] == [["prepared"], ["prepared"]]
        assert not any(Path(directory).exists() for directory in directories)
        assert all(Path(directory).parent.exists() for directory in directories)
    assert not any(Path(directory).parent.exists() for directory in directories)


def test_a_run_that_ends_in_death_leaves_no_directory(world):
    with Stage(scenarios.DCP_SAVE) as stage:
        run = stage.run(world, "writer.write_data@1=kill(SIGKILL)")
        assert run.fired
        assert [path.name for path in stage._directory.path.iterdir()] == []


def test_a_scenario_that_cannot_be_prepared_says_so_with_the_story(world):
    with Stage(Scenario(name="mine", function=count_files, prepare=fail_on_rank_one)) as stage:
        with pytest.raises(ScenarioError, match="'mine' cannot be prepared") as caught:
            stage.run(world)
        assert "no disk here" in caught.value.story


def test_a_closed_stage_runs_nothing(world):
    with Stage(scenarios.DCP_SAVE) as stage:
        pass
    with pytest.raises(ValueError, match="is not open"):
        stage.run(world)


def write_where_told(directory, server=""):
    Path(server, "reached").touch()


@pytest.mark.parametrize("chosen", [False, True])
def test_a_server_runs_as_long_as_the_stage_is_open_unless_another_one_is_named(world, tmp_path, chosen):
    serving = []

    @contextlib.contextmanager
    def started():
        serving.append("on")
        yield {"server": str(tmp_path)}
        serving.append("off")

    work = Scenario(name="w", function=write_where_told, options=(("server", ""),), server=started)
    if chosen:
        work = work.with_options(server=str(tmp_path))
    with Stage(work) as stage:
        run = stage.run(world)
        assert serving == ([] if chosen else ["on"])

    assert {outcome.kind for outcome in run.outcomes.values()} == {"returned"}
    assert (tmp_path / "reached").exists() and serving == ([] if chosen else ["on", "off"])
