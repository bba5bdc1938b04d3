"""What is not the same everywhere is found, on real ranks, and made as small as it gets; what is the same holds."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from faultkit.checkpointers import get
from faultkit.cli import main
from faultkit.exceptions import ScenarioError
from faultkit.reshard import explore
from faultkit.reshard.campaign import Findings, Search
from faultkit.reshard.ranks import reader_names
from faultkit.reshard.rendering import as_text
from faultkit.reshard.runner import Case, Runner
from faultkit.reshard.states import OwnState, read, written
from tests.checkpointers.planted.resharding import DEFECTS, MINE
from tests.helpers.stock import stock

pytestmark = pytest.mark.slow

PLANTED = "tests.checkpointers.planted"
MIXED = """{'ints': [1, {'deep': Tensor((2, 3), 'int32', 'transposed')}], 'scalar': Tensor((), 'float64'),
    'half': Tensor((2, 2), 'bfloat16'), 'rows': Sharded((3, 4), 'float64'), 'tied': Alias('rows'), 'text': 'a',
    'columns': Sharded((2, 5), 'int8', 'dtensor', (1,)), 'both': Sharded((3, 5), by=(0, 1)), 'none': Tensor((0, 2))}"""


@pytest.fixture(scope="module")
def runner():
    with Runner(MINE) as made:
        yield made


def search(runner, checkpointer, save_on=2, load_on=(1, 3)):
    """A search on ranks that are up already."""
    runner.checkpointer = checkpointer
    found = Search(runner, Findings(str(checkpointer), save_on, load_on), 300.0, lambda findings: None)
    found.readers = reader_names(checkpointer)
    return found


def problems(runner, checkpointer, text=MIXED):
    """(evidence, smallest state, ranks that save, ranks that load) of all that was found in one state."""
    made = search(runner, checkpointer)
    made.try_state(read(text))
    return [
        (one.problem.evidence, written(one.case.state), one.case.save_on, one.case.load_on)
        for one in made.findings.found
    ]


SMALLEST = {
    "counts_evenly": ("read by whole: .* differs in 2 of 3 ", r"Sharded\(\(3,\), .*", 2, ()),
    "forgets_the_rest": ("loaded on 1 rank: .* differs in 1 of ", r"Sharded\(\(2,\), .*", 2, (1,)),
    "drops_placement": (
        r"loaded on 1 rank: .* has shape \[1\] in place of \[2\]",
        r"Sharded\(\(2,\), .*",
        2,
        (1,),
    ),
    "promotes": (
        "read by whole: .* has dtype float32 in place of bfloat16",
        r"Tensor\(\(\), 'bfloat16'\)",
        1,
        (),
    ),
    "zeroes_scalars": ("loaded on 1 rank: .* with 0.0 in place of", r"Tensor\(\(\), 'float32'\)", 1, (1,)),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_told_by_its_smallest_case(runner, defect):
    words, state, save_on, load_on = SMALLEST[defect]
    found = problems(runner, MINE.with_options(defect=defect))
    assert any(
        re.search(words, evidence)
        and re.fullmatch(rf"\{{'\w+': {state}\}}", smallest)
        and (saved, loaded) == (save_on, load_on)
        for evidence, smallest, saved, loaded in found
    ), found


def test_what_is_the_same_everywhere_holds_whatever_is_drawn(runner):
    made = search(runner, MINE)
    made.try_state(read(MIXED))
    for seed in range(3):
        made.drawn(6, seed)
    assert not made.findings.found, as_text(made.findings)
    assert set(made.findings.totals) == {"HELD"} and made.findings.totals["HELD"] > 10
    assert made.findings.views == (1, 3, "one process", "whole")


@pytest.mark.parametrize(("name", "problem_count"), [("DEFECT", 1), ("TWIN", 0)])
def test_scales_of_blocks_counted_from_the_slice_show_where_a_rank_reads_a_slice(runner, name, problem_count):
    made = search(runner, get(f"{PLANTED}.quantized:{name}"), 1, (2, 1))
    made.own(1)
    assert len(made.findings.found) == problem_count
    for found in made.findings.found:
        assert (found.case.save_on, found.case.load_on, found.also) == (1, (2,), ())
        assert found.case.state == OwnState(1)
        assert re.search(
            "'layer.weight' differs in 32 of 32 elements, first at \\[4, 0\\], .* on rank 1$",
            found.problem.evidence,
        )


@stock(">=2.13,<2.15")
def test_consolidation_in_the_format_of_hugging_face_writes_0_for_what_has_no_dimension(runner):
    found = problems(
        runner, get("dcp-hf,consolidate=first"), "{'weight': Tensor((2,)), 'scalar': Tensor(())}"
    )
    assert [(smallest, saved) for _, smallest, saved, _ in found] == [
        ("{'scalar': Tensor((), 'float32')}", 1)
    ]
    assert not problems(runner, get("dcp-hf"), "{'weight': Tensor((2,)), 'scalar': Tensor(())}")


MIXED_FORMATS = {
    "dcp": MIXED,
    "dcp-async": MIXED,
    "dcp-fsspec": MIXED,
    "torch-save,ranks=every": "{'w': Sharded((1, 2)), 'e': Sharded((0, 2)), 'v': [1, {'a': b'x'}]}",
    "torch-save": "{'w': Sharded((5, 2)), 'v': [1, {'a': b'x'}], 's': Tensor(())}",
    "safetensors": "{'w': Sharded((5, 2)), 'v': [1, {'a': 'x'}], 's': Tensor(())}",
    "safetensors,ranks=every": "{'w': Sharded((1, 2)), 'e': Sharded((0, 2)), 's': Tensor((3, 2), 'bfloat16')}",
    "reference": MIXED,
    "dcp-hf": "{'w': Sharded((1, 2)), 's': Tensor(()), 'b': Tensor((3, 2), 'bfloat16')}",
    "dcp-hf,ranks=first": "{'w': Sharded((3, 2)), 's': Tensor(()), 'b': Tensor((3, 2), 'bfloat16')}",
    "dcp-hf,ranks=first,quantized=true": "OwnState(2)",
    "dcp-cached": "OwnState(2)",
    "dcp-convert": "OwnState(2)",
}


@pytest.mark.parametrize("checkpointer", MIXED_FORMATS)
def test_the_readers_of_each_format_give_what_was_saved(runner, checkpointer):
    chosen = get(checkpointer)
    result = runner_of(runner, chosen).run(
        Case(read(MIXED_FORMATS[checkpointer]), 2, (1, 3), reader_names(chosen))
    )
    assert (result.problems, result.refused) == ((), "")
    assert len(result.views) >= 3


def runner_of(runner, checkpointer):
    runner.checkpointer = checkpointer
    return runner


def test_a_save_that_refuses_on_every_rank_is_told_and_is_no_violation(runner):
    made = search(runner, get("dcp-hf"))
    made.try_state(read("{'value': 7}"), "value")
    assert made.findings.totals == {"refused": 1} and not made.findings.found
    assert made.findings.refused == {"value": "TypeError: 'value' must be a tensor (got a int)"}


def test_what_comes_back_from_nowhere_is_told_once_and_not_drawn(runner, monkeypatch):
    leaves = [
        ("bytes", read("{'value': b'x'}")),
        ("value", read("{'value': 1}")),
        ("value", read("{'value': (1,)}")),
    ]
    monkeypatch.setattr("faultkit.reshard.campaign.battery", lambda size: leaves)
    made = search(runner, get("dcp-hf"), 1, (1,))
    made.battery()
    assert made.findings.not_drawn == ("bytes", "value")


# -- the command -----------------------------------------------------------------------------------------------------


def command(*words):
    with pytest.raises(SystemExit) as ended:
        main(["reshard", *words])
    return ended.value.code


def test_the_command_tells_the_case_and_its_replay_brings_it_back(capsys, tmp_path):
    text = f"{PLANTED}.resharding:MINE,defect=promotes"
    state = "{'half': Tensor((2, 2), 'bfloat16'), 'step': 7}"
    path, known = tmp_path / "found.json", str(tmp_path / "known.toml")
    words = (text, "--save-on", "1", "--load-on", "1", "--state", state)
    assert command(*words, "--json", str(path), "--write-known", known) == 1
    told = json.loads(path.read_text())
    [violation] = told["violations"]
    assert (told["verdict"], violation["check"], violation["view"]) == ("SILENT_WRONG", "same", "whole")
    assert "read by whole: 'half' has dtype float32 in place of bfloat16" in capsys.readouterr().out
    assert command(*shlex.split(violation["replay"])[2:]) == 1
    assert command(*words, "--known", known, "--json", str(path)) == 0
    assert json.loads(path.read_text())["known"]["names"] and "1 known, by name" in capsys.readouterr().out
    assert command(f"{PLANTED}.resharding:MINE", *shlex.split(violation["replay"])[3:]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["dcpp", "--save-on", "1", "--load-on", "1"], "unknown checkpointer 'dcpp'"),
        (["dcp", "--save-on", "1", "--load-on", "1,x"], "--load-on must be numbers of ranks from 1 to 64"),
        (["dcp", "--save-on", "1", "--load-on", "1", "--kind", "wram"], "nearest is 'warm'"),
        (
            ["dcp", "--save-on", "1", "--load-on", "1", "--state", "{'a': open('x')}"],
            "a state is made of Alias, ",
        ),
        (
            ["dcp-hf", "--save-on", "1", "--load-on", "1", "--state", "{'a': 1}"],
            "nothing was compared: the save refused every state",
        ),
        (["dcp-rank-local", "--save-on", "2", "--load-on", "1"], "is loaded by as many ranks; load it on 2"),
        (
            ["dcp,coordinator=2", "--save-on", "3", "--load-on", "2"],
            "coordinator must be a rank of the group",
        ),
    ],
)
def test_what_cannot_be_meant_is_one_line(capsys, words, told):
    assert command(*words) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_what_does_not_reshard_is_refused_with_the_reason():
    with pytest.raises(ScenarioError, match=r"loaded by as many ranks; load it on 2 \(got '1,2'\)"):
        explore("dcp-rank-local", 2, (1, 2))
