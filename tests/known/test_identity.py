"""An identity is the same wherever and whenever the violation is seen, and another one for another violation."""

from __future__ import annotations

import json
import sys

import pytest

from faultkit import World
from faultkit.checks import CATALOGUE, Verdict
from faultkit.known import identities, identity_of
from faultkit.known.functions import function_of_line, innermost, innermost_of_stack
from faultkit.known.identity import FIELDS, file_name, severity_of
from faultkit.known.of_runs import role_of
from faultkit.scenarios import Stage, scenario_of
from tests.helpers.finished_runs import Recording

RESET = {
    "check": "liveness",
    "verdict": "HUNG",
    "point": "writer.reset",
    "action": "raise(ValueError)",
    "where": "torch.distributed.checkpoint.utils.gather_object",
    "roles": "the others",
}


def run_of(world, plan, scenario="dcp-save"):
    with Stage(scenario_of(scenario)) as stage:
        return stage.run(world, plan)


@pytest.fixture(scope="module")
def simulated():
    worlds = {}

    def world(size):
        if size not in worlds:
            worlds[size] = World(size, kind="simulated")
        return worlds[size]

    yield world
    for one in worlds.values():
        one.close()


def told(run):
    return [
        {key: value for key, value in one.to_builtins().items() if key in FIELDS} for one in identities(run)
    ]


@pytest.mark.slow
def test_it_is_the_same_on_each_rank_in_each_world_of_each_size(pair, simulated):
    plans = [f"writer.reset@{rank}=raise(ValueError)" for rank in (0, 1)]
    on_processes = [told(run_of(pair, plan)) for plan in plans]
    elsewhere = [told(run_of(simulated(size), plan)) for size in (2, 4) for plan in plans]
    with World(2, kind="fresh") as fresh:
        elsewhere.append(told(run_of(fresh, plans[1])))
    assert on_processes + elsewhere == [[RESET]] * 7


@pytest.mark.parametrize(
    ("other", "differs_in"),
    [
        ("writer.reset@1=raise(OSError, EIO)", {"action"}),
        ("fs.init_path@1=raise(ValueError)", {"point"}),
        ("comm.broadcast_object@0=raise(ValueError)", {"point", "where"}),
    ],
)
def test_another_violation_has_another(simulated, other, differs_in):
    [found] = told(run_of(simulated(2), other))
    assert {key for key in RESET if RESET[key] != found[key]} == differs_in
    assert len({identity_of(**arguments(one)).digest for one in (RESET, found)}) == 2


def arguments(told):
    plural = {"point": "points", "action": "actions"}
    made = {plural.get(key, key): [value] if key in plural else value for key, value in told.items()}
    return made | {"where": [told["where"]]}


def test_a_file_is_named_without_what_is_drawn_for_it(simulated):
    [found] = told(run_of(simulated(2), "fs.rename@0=raise(OSError, EIO)", "dcp-overwrite"))
    assert found["point"] == "fs.rename(.metadata.tmp)" and found["check"] == "intact"
    [found] = told(run_of(simulated(2), 'fs.write("*.distcp")@1=raise(OSError, ENOSPC)', "dcp-overwrite"))
    assert found["point"] == "fs.write(__*_*.distcp)"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("/tmp/run-34/step-2/__0_1.distcp", "__*_*.distcp"),
        ("/x/tmpab12cd34/tmpq_9abcde", "tmp*"),
        (".tmp9hsnl7", ".tmp*"),
        (".metadata.tmp", ".metadata.tmp"),
        ("model-00001-of-00004.safetensors", "model-*-of-*.safetensors"),
        ("a1b2c3d4-e5f6-7890-abcd-ef0123456789.pt", "*.pt"),
        ("deadbeefcafe.pt", "*.pt"),
        ("faded-weights.pt", "faded-weights.pt"),
        ("latest", "latest"),
        ("/x/run-3/", "run-*"),
    ],
)
def test_what_a_name_keeps(given, name):
    assert file_name(given) == name


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("raise(OSError, ENOSPC)", "raise(OSError, ENOSPC)"),
        ('raise(ValueError, "disk 3, of (4)")', "raise(ValueError)"),
        ("raise(mine.errors:Lost)", "raise(mine.errors:Lost)"),
        ("delay(0.05)", "delay"),
        ("cut(10)", "cut"),
        ("kill(SIGKILL)", "kill(SIGKILL)"),
        ("hang(native)", "hang(native)"),
        ("exit(1)", "exit"),
        ("status(503)", "status(503)"),
        ("hang", "hang"),
    ],
)
def test_an_action_is_told_without_amounts_and_texts(given, kept):
    assert identity_of("liveness", "HUNG", actions=[given]).action == kept


def test_order_and_repetition_change_nothing_and_addresses_are_left_out():
    one = identity_of(
        "leaks", Verdict.LEAKED, points=["b", "a", "b"], where=["<x at 0x7f01>", "<x at 0x7f02>"]
    )
    other = identity_of("leaks", "LEAKED", points=["a", "b"], where=["<x at 0x55>"])
    assert one == other and one.digest == other.digest and one.point == "a + b"
    assert len(one.digest) == 10 and json.dumps(one.to_builtins())


def test_fields_do_not_run_into_each_other():
    assert identity_of("a", "b", points=["c"]).digest != identity_of("a", "bc").digest


@pytest.mark.parametrize(
    ("ranks", "failed", "size", "role"),
    [
        ({0, 1, 2, 3}, {1}, 4, "all"),
        ({0, 2, 3}, {1}, 4, "the others"),
        ({0}, {1}, 2, "the others"),
        ({1}, {1}, 4, "the failed"),
        ({1, 2}, {1, 2}, 4, "the failed"),
        ({0}, {2}, 4, "the coordinator"),
        ({1, 2, 3}, set(), 4, "all but the coordinator"),
        ({1, 3}, {2}, 4, "some of the others"),
        ({1, 2}, {2}, 4, "some"),
        (set(), {1}, 4, ""),
    ],
)
def test_ranks_are_told_as_a_role(ranks, failed, size, role):
    assert role_of(ranks, failed=failed, world_size=size) == role


ENGINE = "/x/lib/python3.11/site-packages/torch/distributed"


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        # collectives, the standard library, the rest of torch and faultkit are left out
        (
            [
                ("/home/me/train.py", 3, "main"),
                (f"{ENGINE}/checkpoint/state_dict_saver.py", 9, "save"),
                (f"{ENGINE}/checkpoint/utils.py", 9, "gather_object"),
                (f"{ENGINE}/c10d_logger.py", 1, "wrapper"),
                (f"{ENGINE}/distributed_c10d.py", 99, "gather_object"),
            ],
            "torch.distributed.checkpoint.utils.gather_object",
        ),
        ([("/home/me/train.py", 3, "main"), ("<frozen runpy>", 1, "run")], "train.main"),
        ([("/x/site-packages/lightning/fabric/io.py", 3, "save")], "lightning.fabric.io.save"),
        ([("/x/site-packages/torch/serialization.py", 3, "save")], ""),
        ([(json.__file__, 3, "dumps")], ""),
        ([(sys.modules["faultkit.worlds.world"].__file__, 3, "run")], ""),
        ([(sys.modules["faultkit.scenarios.stage"].__file__, 3, "run")], "faultkit.scenarios.stage.run"),
        ([], ""),
    ],
)
def test_the_innermost_function_of_the_engine_or_the_user_counts(frames, found):
    assert innermost(frames) == found


def test_a_users_module_is_named_from_its_outermost_package_on(tmp_path):
    inner = tmp_path / "mine" / "storage"
    inner.mkdir(parents=True)
    for folder in (tmp_path / "mine", inner):
        (folder / "__init__.py").touch()
    assert innermost([(str(inner / "writer.py"), 7, "save")]) == "mine.storage.writer.save"


def test_a_stack_as_text_and_a_line_of_a_recording_give_the_same():
    stack = f'Current thread 0x1 (most recent call first):\n  File "{ENGINE}/checkpoint/utils.py", line 8 in barrier\n'
    assert innermost_of_stack(stack) == "torch.distributed.checkpoint.utils.barrier"
    assert function_of_line("torch/distributed/checkpoint/utils.py:8 in barrier") == innermost_of_stack(stack)
    assert function_of_line("not a line") == ""


def test_line_numbers_change_nothing():
    recorded = Recording("writer.reset@1=raise(ValueError)", size=2)
    assert identities(recorded.run(), ()) == ()
    lines = [innermost([(f"{ENGINE}/checkpoint/utils.py", line, "barrier")]) for line in (1, 999)]
    assert len(set(lines)) == 1


def test_words_of_campaigns_are_as_bad_as_the_verdict_that_does_the_same_harm():
    assert severity_of("MIX") == Verdict.SILENT_WRONG.severity < severity_of("ERROR") < severity_of("MASKED")
    assert severity_of("no such word") == 0  # as bad as can be


def test_no_check_has_the_name_of_a_campaign():
    assert not {"crash", "damage", "history"} & set(CATALOGUE)
