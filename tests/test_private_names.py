"""No module of faultkit uses a private name of another: what somebody else needs is public, or lies elsewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import faultkit

ROOT = Path(faultkit.__file__).parents[1]
OWN = ("faultkit", "pytest_faultkit")
OF_NAMED_TUPLES = (
    "_asdict",
    "_fields",
    "_make",
    "_replace",
)  # public, and so named lest they clash with a field
FILES = sorted([*ROOT.glob("faultkit/**/*.py"), *ROOT.glob("plugins/pytest_faultkit/**/*.py")])


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def is_module(name: str) -> bool:
    path = Path(*name.split("."))
    roots = (ROOT, ROOT / "plugins")
    return any((root / path).with_suffix(".py").is_file() or (root / path).is_dir() for root in roots)


def borrowed(source: str) -> Iterator[str]:
    """Each private name of another module of faultkit that `source` uses."""
    tree = ast.parse(source)
    names = set()  # that the module has imported from faultkit: modules, classes and functions
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or OWN[0] for alias in node.names if alias.name.split(".")[0] in OWN}
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OWN:
            for alias in node.names:
                names.add(alias.asname or alias.name)
                if is_private(alias.name) and not is_module(f"{node.module}.{alias.name}"):
                    yield f"line {node.lineno}: {node.module}.{alias.name}"
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            continue
        if node.value.id in names and is_private(node.attr) and node.attr not in OF_NAMED_TUPLES:
            yield f"line {node.lineno}: {node.value.id}.{node.attr}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from faultkit.plan.grammar import _parse", ["line 1: faultkit.plan.grammar._parse"]),
        ("from faultkit.plan import grammar\ngrammar._parse", ["line 2: grammar._parse"]),
        ("from faultkit import plan as p\ndef f():\n    p._x = 1", ["line 3: p._x"]),
        ("from faultkit.worlds import World\nWorld._run", ["line 2: World._run"]),
        ("from pytest_faultkit.cases import _close", ["line 1: pytest_faultkit.cases._close"]),
        ("from faultkit import _lazy\n_lazy.face", []),
        ("from faultkit.plan import grammar\ngrammar.parse\ngrammar.__name__", []),
        ("import os\nos._exit", []),
        ("self._x", []),
    ],
)
def test_a_private_name_of_another_module_is_found(source, found):
    assert list(borrowed(source)) == found


def test_no_module_uses_a_private_name_of_another():
    assert len(FILES) > 200
    found = {str(file.relative_to(ROOT)): list(borrowed(file.read_text())) for file in FILES}
    assert {file: names for file, names in found.items() if names} == {}
