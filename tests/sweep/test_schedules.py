"""A sweep under several schedules tells the worst run of each plan, how often it came, and how to have it again."""

from __future__ import annotations

import json
import shlex

import pytest
import torch.distributed as dist

from faultkit import FaultPlan, PlanError, Verdict
from faultkit.cli import main
from faultkit.scenarios import ScenarioError, of_function
from faultkit.sweep import ScheduleChoice, Schedules, sweep
from faultkit.sweep.replay_input import read_replay_input
from tests.helpers.clearing_checkpointers import CLEARING

pytestmark = pytest.mark.slow

NOTHING = FaultPlan()


def look_once(directory):
    """Rank 1 looks once for what rank 0 writes, and who goes first is not settled."""
    store = dist.distributed_c10d._get_default_store()
    if dist.get_rank() == 0:
        store.set("key", "there")
    elif not store.check(["key"]):
        raise LookupError("not there yet")


def touch_many(directory):
    """Two ranks that each touch the same key three times."""
    store = dist.distributed_c10d._get_default_store()
    for _ in range(3):
        store.add("count", 1)


def sweep_of(function, **options):
    return sweep(of_function(function), world=2, kind="simulated", plans=[NOTHING], **options)


def test_of_drawn_schedules_the_worst_is_told_with_its_seed():
    assert sweep_of(look_once).held  # the plainest schedule
    journal = sweep_of(look_once, schedules=Schedules(drawn=20))
    [result] = journal.results
    assert result.verdict is Verdict.UNUSABLE
    counts = result.covered.verdicts
    assert set(counts) == {"UNUSABLE", "HELD"} and sum(counts.values()) == 20
    assert result.covered.is_complete is None
    assert result.order.seed > 0 and f"--seed {result.order.seed}" in journal.replay_command(result)
    assert sweep_of(look_once, seed=result.order.seed).results[0].verdict is Verdict.UNUSABLE


@pytest.mark.parametrize("schedules", [Schedules(drawn=30), Schedules(every=300)], ids=["drawn", "every"])
def test_a_barrier_that_a_checkpointer_leaves_out_is_found_by_either(schedules):
    def swept(checkpointer, schedules):
        return sweep(checkpointer, world=2, kind="simulated", plans=[NOTHING], schedules=schedules)

    assert swept(CLEARING.with_options(waits=False), Schedules()).held  # nobody sees it in the plainest order
    journal = swept(CLEARING.with_options(waits=False), schedules)
    [result] = journal.results
    assert result.verdict in (Verdict.LOST_WORK, Verdict.SILENT_WRONG, Verdict.HUNG, Verdict.UNUSABLE)
    assert result.covered.verdicts["HELD"] > 0
    [sound] = swept(CLEARING, schedules).results
    assert set(sound.covered.verdicts) == {"HELD"} and sound.covered.is_complete is not False


def test_every_schedule_is_run_and_the_worst_comes_back_by_its_decisions():
    [result] = sweep_of(look_once, schedules=Schedules(every=50)).results
    assert (result.covered.verdicts, result.covered.is_complete) == ({"UNUSABLE": 1, "HELD": 1}, True)
    [again] = sweep_of(look_once, orders=[result.order]).results
    assert again.verdict is Verdict.UNUSABLE and again.outcomes[1].type == "LookupError"


def test_a_bound_that_is_too_small_is_told():
    [result] = sweep_of(touch_many, schedules=Schedules(every=3)).results
    assert sum(result.covered.verdicts.values()) == 3 and result.covered.is_complete is False
    assert result.covered.text(result.verdict) == "3 of 3 schedules, and not all were run"


def test_what_a_sweep_wrote_is_read_back_with_its_orders(tmp_path):
    journal = sweep_of(look_once, schedules=Schedules(every=50))
    (tmp_path / "sweep.json").write_text(journal.to_json())
    replayed = read_replay_input(str(tmp_path / "sweep.json"))
    assert replayed.orders == (journal.results[0].order,) and replayed.kind == "simulated"
    [told] = json.loads(journal.to_json())["plans"]
    assert told["schedules"] == {"verdicts": {"UNUSABLE": 1, "HELD": 1}, "complete": True}


def test_a_plan_without_an_order_has_the_first_seed_and_a_bad_one_is_refused(tmp_path):
    file = tmp_path / "replayed"
    file.write_text('{"plan": "writer.reset=hang"}')
    assert read_replay_input(str(file)).orders == (ScheduleChoice(),)
    file.write_text('{"plan": "writer.reset=hang", "schedule": "0,1"}')
    with pytest.raises(PlanError, match="schedule a list of numbers"):
        read_replay_input(str(file))


@pytest.mark.parametrize(
    ("schedule", "why"),
    [((5, 0), "thread 5 cannot go on at decision 0; 0, 1 can"), ((0,) * 40, "the run came to")],
)
def test_a_schedule_of_another_run_is_an_error_and_no_verdict(schedule, why):
    with pytest.raises(ScenarioError, match=why):
        sweep_of(touch_many, orders=[ScheduleChoice(schedule=schedule)])


def test_processes_have_no_schedules():
    with pytest.raises(ValueError, match="only simulated ranks run under 4 schedules"):
        sweep(of_function(touch_many), world=2, plans=[NOTHING], schedules=Schedules(drawn=4))
    with pytest.raises(ValueError, match="drawn must be a number from 1"):
        Schedules(drawn=0)


def test_what_cannot_happen_to_simulated_ranks_is_left_out_and_told():
    options = {"world": 2, "kind": "simulated", "points": ["writer.finish"]}
    journal = sweep("dcp-save", actions=["raise(ValueError)", "segfault", "stop"], **options)
    assert [str(result.plan) for result in journal.results] == ["writer.finish@0=raise(ValueError)"]
    assert journal.refused == ("segfault", "stop") and not journal.is_cut_off
    with pytest.raises(ScenarioError, match="segfault cannot happen to simulated ranks"):
        sweep("dcp-save", actions=["segfault"], **options)
    with pytest.raises(PlanError, match="nearest is kill"):
        sweep("dcp-save", world=2, kind="simulated", plans=[FaultPlan.parse("writer.finish@0=segfault")])


def look_once_on_simulated_ranks(directory):
    if type(dist.distributed_c10d._get_default_group()) is not dist.ProcessGroup:
        look_once(directory)


def test_kind_auto_searches_simulated_ranks_and_tells_how_to_have_that_run_again():
    journal = sweep(
        of_function(look_once_on_simulated_ranks),
        world=2,
        kind="auto",
        plans=[NOTHING],
        schedules=Schedules(every=50),
    )
    [result] = journal.differences
    assert (result.verdict, result.simulated) == (Verdict.HELD, Verdict.UNUSABLE)
    words = shlex.split(journal.replay_command(result, simulated=True))
    schedule = ",".join(map(str, result.simulated_order.schedule))
    assert words[words.index("--kind") :] == ["--kind", "simulated", "--schedule", schedule]
    assert "--schedule" not in journal.replay_command(result)


def test_the_command_line_searches_and_replays(tmp_path, monkeypatch, capsys):
    (tmp_path / "racing.py").write_text(
        "import torch.distributed as dist\n"
        "def look_once():\n"
        "    store = dist.distributed_c10d._get_default_store()\n"
        "    if dist.get_rank() == 0:\n"
        "        store.set('key', 'there')\n"
        "    elif not store.check(['key']):\n"
        "        raise LookupError('not there yet')\n"
    )
    monkeypatch.chdir(tmp_path)

    def faultkit(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return ended.value.code, capsys.readouterr().out

    status, out = faultkit(
        "sweep", "racing:look_once", "--world", "2", "--kind", "simulated", "--plan", "", "--exhaustive", "50"
    )
    assert status == 1 and "under 1 of 2 schedules" in out and "in 50 runs at most" in out.replace("\n", " ")
    [command] = [line for line in out.splitlines() if "--schedule" in line]
    status, out = faultkit(*shlex.split(command)[1:])
    assert status == 1 and "raised LookupError: not there yet" in out
    assert out.rstrip().endswith(f"replay: {command.strip()}")
