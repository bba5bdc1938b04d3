"""No module of faultkit uses a private name of another: what somebody else needs is public, or lies elsewhere."""

from __future__ import annotations

import ast
import functools
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
# attributes of torch and of Python that some class of ours has by the same name
OF_OTHERS = (
    *("error._failures", "torch.distributed.ProcessGroup._set_group_name", "dist.distributed_c10d._world"),
    *("future._state", "os.environ._data", "self._cond._lock", "value._lock"),
    *("thread._handle", "thread._started", "threads._main_thread"),
)
FILES = sorted([*ROOT.glob("faultkit/**/*.py"), *ROOT.glob("plugins/pytest_faultkit/**/*.py")])

parse = functools.cache(ast.parse)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def is_module(name: str) -> bool:
    path = Path(*name.split("."))
    roots = (ROOT, ROOT / "plugins")
    return any((root / path).with_suffix(".py").is_file() or (root / path).is_dir() for root in roots)


def borrowed(source: str) -> Iterator[str]:
    """Each private name of another module of faultkit that `source` uses."""
    tree = parse(source)
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


def attributes_of_classes(source: str) -> set[str]:
    """The private names that the classes of a module give to their objects: methods, and what is stored in `self`."""
    found = set()
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.ClassDef):
            found |= {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
            found |= {one.target.id for one in node.body if isinstance(one, ast.AnnAssign)}  # type: ignore[union-attr]
        is_stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if is_stored and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            found.add(node.attr)
    return {name for name in found if is_private(name)}


def looked_into(source: str, elsewhere: set[str]) -> Iterator[str]:
    """Each private attribute that `source` uses of an object, and that only classes of other modules have."""
    for node in ast.walk(parse(source)):
        if not isinstance(node, ast.Attribute) or node.attr not in elsewhere or node.attr in OF_NAMED_TUPLES:
            continue
        if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
            yield f"line {node.lineno}: {ast.unparse(node)}"


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


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("work._op", ["line 1: work._op"]),
        ("def f(group):\n    return [one._op.x for one in group.works]", ["line 2: one._op"]),
        ("self._op", []),
        ("work.op", []),
    ],
)
def test_a_private_attribute_of_a_class_elsewhere_is_found(source, found):
    assert (
        list(looked_into(source, attributes_of_classes("class A:\n    def f(self):\n        self._op = 1")))
        == found
    )


def test_no_module_uses_a_private_attribute_of_a_class_of_another():
    own = {file: attributes_of_classes(file.read_text()) for file in FILES}
    everybody = set().union(*own.values())
    assert len(everybody) > 200
    found = {
        str(file.relative_to(ROOT)): list(looked_into(file.read_text(), everybody - own[file]))
        for file in FILES
    }
    foreign = {
        file: [one for one in names if one.split(": ")[1] not in OF_OTHERS] for file, names in found.items()
    }
    assert {file: names for file, names in foreign.items() if names} == {}
