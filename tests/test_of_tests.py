"""What tests say of files and modules by name is there: else an assertion that something is absent would always hold.

Read off the source of the tests.  Not covered: names that are put together when a test runs, and private names.
"""

from __future__ import annotations

import ast
import re
import sysconfig
from pathlib import Path

import pytest
import torch.distributed.checkpoint as dcp

from tests.helpers.own_files import files_told
from tests.helpers.places import ROOT

TESTS = sorted((ROOT / "tests").rglob("*.py"))
OURS = {"faultkit": ROOT / "faultkit", "pytest_faultkit": ROOT / "plugins" / "pytest_faultkit"}
FILES = [path.as_posix() for place in (*OURS.values(), ROOT / "tests") for path in place.rglob("*.py")]
OTHERS = [Path(sysconfig.get_path("stdlib")), Path(dcp.__file__).parent]
FILE = re.compile(r"(?:faultkit|pytest_faultkit)/[\w./-]*")
IMPORT = re.compile(r"^\s*from ((?:faultkit|pytest_faultkit)(?:\.\w+)*) import ([\w, ]+?)\s*$", re.MULTILINE)


def is_there(name):
    package, _, rest = name.partition("/")
    return (OURS[package] / rest).exists()


def file_of(module):
    package, *rest = module.split(".")
    path = OURS[package].joinpath(*rest)
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


def missing(source):
    """What the source of a test names and is not there."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.NotIn):
            name = getattr(node.left, "value", None)
            if isinstance(name, str) and re.fullmatch(r"[\w/]+\.py", name):
                known = any(one.endswith(f"/{name}") for one in FILES)
                if not known and not any((place / name).is_file() for place in OTHERS):
                    yield name
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if FILE.fullmatch(node.value) and not is_there(node.value):
                yield node.value
            for module, names in IMPORT.findall(node.value):
                file = file_of(module)
                for name in [] if file is None else re.split(r" as \w+|\W+", names):
                    is_known = file_of(f"{module}.{name}") or re.search(rf"\b{name}\b", file.read_text())
                    if not is_known and not name.startswith("_"):
                        yield f"{module}.{name}"
                if file is None:
                    yield module


def test_a_file_or_module_that_a_test_names_is_there():
    assert len(TESTS) > 150
    found = {path.name: list(missing(path.read_text())) for path in TESTS if path != Path(__file__)}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('assert "worlds/simulated/group.py" not in text', ["worlds/simulated/group.py"]),
        ('assert "worlds/simulated/network/groups.py" not in text', []),
        ('assert "threading.py" not in text', []),
        ('assert not any("faultkit/files" in line for line in lines)', ["faultkit/files"]),
        ('assert not any("faultkit/recording" in line for line in lines)', []),
        ('CODE = """\nfrom faultkit.recording import shim\n"""', ["faultkit.recording.shim"]),
        ('CODE = """\nfrom faultkit.interception import shim\n"""', []),
        ('CODE = """\nfrom faultkit.nothing import shim\n"""', ["faultkit.nothing"]),
        ('CODE = """\nfrom faultkit import World, FaultPlan as Plan\n"""', []),
    ],
)
def test_what_is_not_there_is_found(source, found):
    assert list(missing(source)) == found


def test_files_of_ours_are_found_in_a_text_and_no_others():
    text = f'File "{ROOT}/faultkit/worlds/rank.py", line 3\nplugins/pytest_faultkit/plugin.py:9 in x'
    assert files_told(text) == ["faultkit/worlds/rank.py", "pytest_faultkit/plugin.py"]
    assert files_told('File "/me/faultkit/tests/train.py", line 3, in faultkit/worlds/group.py') == []
