"""What an action is stands in its catalogue: no module outside of `faultkit.plan` compares with the name of one.

Read off the source: a comparison, a case or a prefix with the name of an action as a literal, and any comparison of the
name of something that is called an action.  A table by name, of what performs the actions, is none of these.
"""

import ast
from pathlib import Path

import pytest

import faultkit
import pytest_faultkit
from faultkit.plan.action_catalogue import ACTIONS

FOLDERS = [Path(package.__file__).parent for package in (faultkit, pytest_faultkit)]
PREFIXES = ("startswith", "endswith", "removeprefix", "removesuffix")
NOT_OF_ACTIONS = {  # where these words mean something else, or nothing of faultkit can be asked
    "faultkit/checks/leaks.py": "kinds of what is left: threads, descriptors ...",
    "faultkit/damage/damages.py": "kinds of damage at rest: flip, zero ...",
    "faultkit/history/draw.py": "rules of a history: fail, kill ...",
    "faultkit/history/entry.py": "rules of a history: fail, kill ...",
    "faultkit/processes/serialization.py": "how a value failed to load: by an exit",
    "faultkit/repro/script_runtime.py": "performs actions within a script, which stands alone",
    "faultkit/repro/script_work.py": "the parts of a function in Python: its annotation, what it returns",
    "faultkit/runs/own_failures.py": "statements of Python: raise, assert ...",
    "faultkit/sweep/results.py": "how the process of a rank ended: exit(0)",
    "faultkit/worlds/simulated/runs.py": "how a simulated rank ended",
}


def sources():
    for folder in FOLDERS:
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(folder.parent).as_posix()
            if not name.startswith("faultkit/plan/"):
                yield name, path.read_text(encoding="utf-8")


def comparisons(source):
    """The lines that compare with the name of an action."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare():
                sides = [node.left, *node.comparators]
            case ast.MatchValue() | ast.Match():
                sides = [node.value if isinstance(node, ast.MatchValue) else node.subject]
            case ast.Call(func=ast.Attribute(attr=attr), args=sides) if attr in PREFIXES:
                pass
            case _:
                continue
        if any(is_name_of_an_action(side) for side in sides):
            found.add(node.pattern.lineno if hasattr(node, "pattern") else sides[0].lineno)
    return sorted(found)


def is_name_of_an_action(node):
    match node:
        case ast.Constant(value=str(text)):
            return text.partition("(")[0] in ACTIONS
        case ast.Tuple() | ast.List() | ast.Set():
            return any(map(is_name_of_an_action, node.elts))
        case ast.Call(func=ast.Name(id="frozenset" | "set" | "tuple"), args=arguments):
            return any(map(is_name_of_an_action, arguments))
        case ast.Attribute(attr="name", value=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name.endswith("action")
    return False


def test_no_module_compares_with_the_name_of_an_action():
    found = {name: lines for name, source in sources() if (lines := comparisons(source))}
    wrong = {name: lines for name, lines in found.items() if name not in NOT_OF_ACTIONS}
    assert wrong == {}, f"ask its entry in faultkit/plan/action_catalogue.py instead: {wrong}"
    assert set(found) == set(NOT_OF_ACTIONS), "an exception that is none any more must go"


@pytest.mark.parametrize(
    "line",
    [
        'if fault.action.name == "lie": pass',
        'x = action.name not in ("exit", "kill")',
        'x = {"torn"} & names or name in {"full", "torn"}',
        "x = fault.action.name in KNOWN",
        'match name:\n case "hang": pass',
        'match name:\n case "kill" | "exit": pass',
        'x = str(action).startswith("raise(")',
        'x = str(action) == "hang(native)"',
        'x = name in frozenset(("flip", "zero"))',
        "match action.name:\n case word: pass",
    ],
)
def test_such_a_comparison_is_found(line):
    assert comparisons(line)


@pytest.mark.parametrize(
    "line",
    [
        "x = _TABLE[action.name]",
        "x = _TABLE.get(action.name)",
        'x = fault.name == "write"',
        "x = action.family == 'time'",
    ],
)
def test_a_table_and_a_field_are_no_comparison(line):
    assert not comparisons(line)
