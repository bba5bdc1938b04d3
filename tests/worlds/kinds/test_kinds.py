"""The table of kinds is all that anybody asks: each kind has every member, and nobody asks for one by its name."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import click
import pytest

import faultkit
from faultkit import FaultPlan, PlanError, World
from faultkit.cli.sweep import sweep
from faultkit.worlds.kinds import KINDS, WorldKind
from pytest_faultkit.names import KIND_NAMES
from tests.helpers.places import page

ROOT = Path(faultkit.__file__).parents[1]
STOP = FaultPlan.parse("writer.write_data=stop")


def asked_by_name(source: str) -> list[int]:
    """The lines that compare a kind with the name of one."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        and ast.unparse(node.left).rpartition(".")[2] in ("kind", "world_kind")
        and any(
            isinstance(one, ast.Constant) and one.value in KINDS
            for side in node.comparators
            for one in ast.walk(side)
        )
    ]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("if kind == 'simulated': pass", [1]),
        ("x = 1\ny = self.kind not in ('simulated', 'auto')", [2]),
        ("'fresh' if world.kind != 'warm' else ''", [1]),
        ("if event.kind == 'content': pass", []),
        ("World(2, kind='fresh')", []),
    ],
)
def test_a_question_for_a_name_is_found(source, lines):
    assert asked_by_name(source) == lines


def test_nobody_asks_for_a_kind_by_its_name():
    files = [*ROOT.glob("faultkit/**/*.py"), *ROOT.glob("plugins/**/*.py")]
    assert len(files) > 200
    found = {str(file.relative_to(ROOT)): asked_by_name(file.read_text()) for file in files}
    assert {file: lines for file, lines in found.items() if lines} == {}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_has_every_member_of_the_protocol(kind):
    members = {name for name in (*vars(WorldKind), *WorldKind.__annotations__) if not name.startswith("_")}
    assert {"supports", "run", "afresh"} <= members
    assert {name for name in members if not hasattr(kind, name)} == set()
    assert kind.afresh in KINDS and kind.confirmed_by in ("", *KINDS)


def test_the_option_of_the_plugin_has_the_kinds():
    assert tuple(KINDS) == KIND_NAMES


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_told_wherever_one_is_chosen(kind):
    options = {option.name: option.help for option in sweep.params if isinstance(option, click.Option)}
    row, *_ = re.findall(r"^\| `--kind KIND` \|.*$", page("command-line.md"), re.MULTILINE)  # of a sweep
    assert f'``"{kind}"``' in World.__doc__
    assert re.search(rf"\b{kind}\b", options["kind"])
    assert f"`{kind}`:" in row


@pytest.mark.parametrize(
    ("kind", "afresh"), [("warm", "fresh"), ("fresh", "fresh"), ("simulated", "simulated")]
)
def test_a_world_afresh_has_ranks_that_no_run_has_used(kind, afresh):
    with World(2, kind=kind, seed=7, timeout=9.0) as world, world.afresh(timeout=8.0) as other:
        assert (other.kind, other.size, other.seed, other.timeout) == (afresh, 2, 7, 8.0)


@pytest.mark.parametrize(("kind", "is_supported"), [("warm", True), ("simulated", False), ("auto", True)])
def test_a_world_says_whether_a_plan_can_happen_to_its_ranks(kind, is_supported):
    with World(2, kind=kind) as world:
        assert world.supports(STOP) is is_supported
        if is_supported:
            world.validate_plan(STOP)
        else:
            with pytest.raises(PlanError, match="cannot happen to a simulated rank"):
                world.validate_plan(STOP)
        with pytest.raises(PlanError):
            world.validate_plan(FaultPlan.parse("writer.write_data@7=raise"))


def test_worlds_that_share_have_the_same_ranks_and_the_owner_ends_them():
    with World(1, backend="") as owner:
        with World(1, backend="", timeout=5.0, seed=3, shares=owner) as lent:
            run = lent.run(os.getpid)
        assert run.timeout_seconds == 5.0 and run.seed == 3
        assert owner.pids() == lent.pids() == {0: run.outcomes[0].value}
        assert owner.run(os.getpid).outcomes == run.outcomes
    assert lent.pids() == {}
    with pytest.raises(ValueError, match="is closed"):
        lent.run(os.getpid)


def test_ranks_are_shared_with_a_world_of_the_same_arguments_alone():
    with World(1, backend="") as owner, pytest.raises(ValueError, match="same arguments"):
        World(2, backend="", shares=owner)
