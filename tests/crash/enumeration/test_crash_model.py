"""The table of crash models is all that anybody asks, and each model is told wherever one is chosen."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

import faultkit
from faultkit import crash
from faultkit.cli.crash import crash as command
from faultkit.crash.enumeration import models
from faultkit.crash.enumeration.crash_model import crash_model
from tests.helpers.places import ROOT, page


def asked_by_name(source: str) -> list[int]:
    """The lines that compare something called a model with the name of one."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        and ast.unparse(node.left).rpartition(".")[2] == "model"
        and any(
            isinstance(one, ast.Constant) and one.value in crash.MODELS
            for side in node.comparators
            for one in ast.walk(side)
        )
    ]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("if model == 'ordered': pass", [1]),
        ("x = 1\ny = witness.model not in ('killed', 'weak')", [2]),
        ("if crash_model(witness.model).keeps_order: pass", []),
        ("if model not in MODELS: pass", []),
    ],
)
def test_a_question_for_a_name_is_found(source, lines):
    assert asked_by_name(source) == lines


def test_nobody_asks_for_a_model_by_its_name():
    files = list(Path(faultkit.__file__).parent.rglob("*.py"))
    assert len(files) > 200
    found = {str(file.relative_to(ROOT)): asked_by_name(file.read_text()) for file in files}
    assert {file: lines for file, lines in found.items() if lines} == {}


@pytest.mark.parametrize("model", crash.MODELS)
def test_a_model_has_states_a_contract_and_a_word_wherever_one_is_chosen(model):
    options = {option.name: option.help for option in command.params if isinstance(option, click.Option)}
    (row,) = re.findall(r"^\| `--models NAME` \|.*$", page("command-line.md"), re.MULTILINE)
    assert set(models.ENUMERATED) == set(crash.MODELS)
    assert re.search(rf"^{model}: ", models.__doc__, re.MULTILINE)
    assert f"* ``{model}``" in crash.__doc__
    assert re.search(rf"\b{model}\b", options["models"])
    assert f"`{model}`" in row


def test_an_unknown_model_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"must be one of killed.*got 'orderd'.*'ordered'"):
        crash_model("orderd")
