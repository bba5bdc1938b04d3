"""What the pages about plans and the command line show is what faultkit does."""

from __future__ import annotations

import re
import shlex

import pytest

from faultkit import FaultPlan, PlanError
from faultkit.plan.action_catalogue import ACTIONS
from faultkit.plan.points import LAYERS
from faultkit.sweep import FILE_ACTIONS, REQUEST_ACTIONS, STANDARD_ACTIONS, VALUE_ACTIONS
from faultkit.sweep.replay_input import read_replay_input
from tests.helpers.places import ROOT

DOCUMENTS = ROOT / "docs"
GRAMMAR = (DOCUMENTS / "plan-grammar.md").read_text(encoding="utf-8")
COMMANDS = (DOCUMENTS / "command-line.md").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


EXAMPLES = [line for block in blocks(GRAMMAR, "plan") for line in block.splitlines()]


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_a_plan_and_canonical(text):
    plan = FaultPlan.parse(text)
    assert str(plan) == text
    plan.validate_ranks_for(4)


def test_the_examples_show_every_action_and_every_layer():
    faults = [fault for text in EXAMPLES for fault in FaultPlan.parse(text)]
    shown = {fault.action.name for fault in faults}
    assert {name for name in ACTIONS if f"| `{name}" in GRAMMAR} == set(ACTIONS)
    assert shown >= {"raise", "delay", "hang", "kill", "exit", "stop"}
    assert {fault.layer for fault in faults} >= set(LAYERS)


def test_the_grammar_on_the_page_is_that_of_the_module():
    import faultkit.plan

    def rules(text):
        return {
            match[1]: " ".join(match[2].split())
            for match in re.finditer(r"^ *(\w+) +:= +(.*?)(?: {3,}.*)?$", text, re.MULTILINE)
        }

    on_the_page = rules(blocks(GRAMMAR, "text")[0])
    assert on_the_page
    assert on_the_page == rules(faultkit.plan.__doc__)


@pytest.mark.parametrize("code", blocks(GRAMMAR, "python"))
def test_the_code_on_the_grammar_page_runs(code):
    exec(code, {})


def test_the_error_on_the_page_is_the_error():
    (console,) = blocks(GRAMMAR, "console")
    command, message = console.splitlines()
    with pytest.raises(PlanError) as caught:
        read_replay_input(shlex.split(command)[-1])
    assert message == f"faultkit: {caught.value}"


def test_the_standard_actions_are_listed():
    told = re.search(r"The standard actions are (.*?)\.\n", COMMANDS, re.DOTALL)[1]
    assert tuple(re.findall(r"`([^`]+)`", " ".join(told.split()))) == STANDARD_ACTIONS
    told = re.search(r"what can happen to files, where it can happen: (.*?)\.\s", COMMANDS, re.DOTALL)[1]
    assert tuple(re.findall(r"`([^`]+)`", " ".join(told.split()))) == FILE_ACTIONS
    told = re.search(r"what a call gives, where it gives something: (.*?)\.\s", COMMANDS, re.DOTALL)[1]
    assert tuple(re.findall(r"`([^`]+)`", " ".join(told.split()))) == VALUE_ACTIONS
    told = re.search(r"what a server answers, at points of layer `http`: (.*?)\.\s", COMMANDS, re.DOTALL)[1]
    assert tuple(re.findall(r"`([^`]+)`", " ".join(told.split()))) == REQUEST_ACTIONS


def test_every_option_of_a_sweep_is_listed():
    from faultkit.cli import sweep

    options = {name for parameter in sweep.params for name in parameter.opts if name.startswith("--")}
    section = COMMANDS.partition("\n## faultkit sweep\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(--[\w-]+)", section, re.MULTILINE)) == options
