"""What a user gets from ``pip install``: the wheel alone, in a fresh environment, in an empty folder.

The wheel is built from the source archive, so both are proven.  It goes into a new virtual environment
that borrows its *dependencies* from the running one (torch is gigabytes) through a path line.  Such a
line processes no further ``.pth`` file, so an editable installation of faultkit there stays invisible,
and each test would fail rather than import the working tree.  Not verified here: that the lower bounds of
the dependencies are low enough, or high enough.
"""

from __future__ import annotations

import ast
import email
import importlib.metadata
import itertools
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import faultkit
from tests.helpers import brisk
from tests.helpers.places import ROOT
from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def finish(*command: object, folder: Path, status: int = 0) -> str:
    """Run `command` in `folder` away from this repository and this pytest; its output, both streams."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))
    }
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    finish(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    assert len(list(folder.glob("*.tar.gz"))) == 1
    (built,) = folder.glob("*.whl")
    return built


class Installed(NamedTuple):
    """A virtual environment that holds the wheel: its `root`, and the folder of its commands."""

    root: Path
    commands: Path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Installed:
    folder = tmp_path_factory.mktemp("user")
    root = folder / "venv"
    venv.create(root, with_pip=False, symlinks=True)
    scheme = {"base": str(root), "platbase": str(root), "installed_base": str(root)}
    commands = Path(sysconfig.get_path("scripts", "venv", scheme))
    packages = Path(sysconfig.get_path("purelib", "venv", scheme))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", commands / "python"]
    finish(*pip, "install", "--no-deps", "--no-index", wheel, folder=folder)
    borrowed = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (packages / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    return Installed(root, commands)


def python(installed: Installed, folder: Path, code: str) -> str:
    return finish(installed.commands / "python", "-c", code, folder=folder).strip()


def test_the_wheel_holds_both_packages_typed_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {
        "faultkit",
        "pytest_faultkit",
        f"faultkit-{faultkit.__version__}.dist-info",
    }
    assert {"faultkit/py.typed", "pytest_faultkit/py.typed"} <= set(names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    written = {
        path.relative_to(parent).as_posix()
        for parent, package in [(ROOT, "faultkit"), (ROOT / "plugins", "pytest_faultkit")]
        for path in (parent / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == written


def test_pytest_and_hypothesis_are_extras_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Requires-Python"] == ">=3.11"
    needed = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert any(line.startswith("torch") for line in needed)
    assert not [line for line in needed if line.startswith(("pytest", "hypothesis"))]


def test_every_third_party_import_is_a_declared_dependency():
    required = itertools.chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    declared = {normal(re.match(r"[\w.-]+", line)[0]) for line in required}
    homes = importlib.metadata.packages_distributions()
    imported = {}
    for folder in (ROOT / "faultkit", ROOT / "plugins"):
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    modules = [node.module]
                imported |= {module.split(".")[0]: path for module in modules}
    foreign = imported.keys() - sys.stdlib_module_names - {"faultkit", "pytest_faultkit", "_pytest"}
    assert "msgspec" in foreign
    for module in foreign:
        found = {normal(name) for name in homes.get(module, [module])}
        assert found & declared, f"{imported[module]} imports {module}, which pyproject.toml does not declare"


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_the_installed_package_is_the_wheel_and_knows_its_version(installed, tmp_path):
    code = """
import faultkit, pytest_faultkit, importlib.metadata as metadata
print(faultkit.__file__); print(pytest_faultkit.__file__)
print(metadata.version("faultkit") == faultkit.__version__)
"""
    *files, same = python(installed, tmp_path, code).splitlines()
    assert all(Path(file).resolve().is_relative_to(installed.root.resolve()) for file in files), files
    assert same == "True"


def test_the_entry_points_are_registered(installed, tmp_path):
    code = """
from importlib.metadata import distribution
print(sorted((e.group, e.name, e.value) for e in distribution("faultkit").entry_points))
"""
    assert ast.literal_eval(python(installed, tmp_path, code)) == [
        ("console_scripts", "faultkit", "faultkit.__main__:main"),
        ("pytest11", "faultkit", "pytest_faultkit.plugin"),
    ]


def test_importing_faultkit_imports_none_of_its_heavy_dependencies(installed, tmp_path):
    code = """
import sys, faultkit, faultkit.plan
heavy = ["torch", "numpy", "pytest", "hypothesis", "plotly", "rich", "jinja2", "click"]
print([name for name in heavy if name in sys.modules])
"""
    assert python(installed, tmp_path, code) == "[]"


def test_every_public_name_but_the_strategies_works_without_pytest_and_hypothesis(installed, tmp_path):
    code = """
import atexit, gc, sys
gc.disable(), atexit.register(gc.freeze)  # importing torch makes no garbage, nor is it to be taken apart in the end
sys.modules["pytest"] = sys.modules["_pytest"] = sys.modules["hypothesis"] = None
import faultkit
for name in faultkit.__all__:
    if name != "strategies":
        getattr(faultkit, name)
print(sorted(faultkit.__all__) == faultkit.__all__, set(faultkit.__all__) <= set(dir(faultkit)))
"""
    assert python(installed, tmp_path, code) == "True True"


def test_a_misspelt_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'faultkit' has no attribute 'Wrld'"):
        _ = faultkit.Wrld


def test_the_command_lists_the_points(installed, tmp_path):
    command = installed.commands / "faultkit"
    helped = finish(command, "--help", folder=tmp_path)
    assert {"points", "sweep", "replay"} <= set(helped.split())
    assert "writer.write_data" in finish(command, "points", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


MARKED = """
import pytest
import torch
import torch.distributed.checkpoint as dcp


def save(folder):
    dcp.save({"weight": torch.ones(8)}, checkpoint_id=folder)


@pytest.mark.world(2)
@pytest.mark.faults("writer.write_data@1=raise(ValueError)")
def test_a_failed_save_is_known_to_every_rank(world, plan, tmp_path):
    run = world.run(save, tmp_path, plan=plan)
    assert [sorted(run.outcomes[rank].failures) for rank in (0, 1)] == [[1], [1]]
"""


def test_a_marked_test_passes_under_the_installed_plugin(installed, tmp_path):
    (tmp_path / "conftest.py").write_text(Path(brisk.__file__).read_text())
    (tmp_path / "test_marked.py").write_text(MARKED)
    options = [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "--strict-markers",
        "--basetemp",
        tmp_path / "base",
    ]
    told = finish(installed.commands / "python", "-m", "pytest", *options, folder=tmp_path)
    assert re.search(r"\b1 passed\b", told), told


def test_the_plugin_can_be_switched_off(installed, tmp_path):
    (tmp_path / "test_plain.py").write_text("def test_plain(): pass\n")
    pytest_command = [installed.commands / "python", "-m", "pytest", "-p", "no:cacheprovider", "--markers"]
    marker = "@pytest.mark.faults("
    assert marker in finish(*pytest_command, folder=tmp_path)
    assert marker not in finish(*pytest_command, "-p", "no:faultkit", folder=tmp_path)
