"""On a torch that faultkit was never tried with it does not start: one line, before anything runs."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from faultkit import World
from faultkit.cli import main
from faultkit.exceptions import TorchVersionError
from faultkit.torch_versions import BELOW, FROM, require_torch
from tests.helpers.places import ROOT
from tests.helpers.stock import TESTED

SECONDS_MAX = 60.0
MARKED = "import pytest\n\n\n@pytest.mark.spmd\n@pytest.mark.world(2)\ndef test_it(): open('ran', 'w')\n"
SCENARIO = "open('imported', 'w')\n\n\ndef save(): pass\n"


@pytest.fixture
def installed(monkeypatch):
    """Says that another torch is installed; what was found out before is forgotten."""

    def say(version):
        def of(name):
            if version is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(importlib.metadata, "version", of)
        require_torch.cache_clear()

    yield say
    require_torch.cache_clear()


def test_the_range_is_that_of_the_package_and_holds_what_is_tested():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (torch,) = [asked for asked in map(Requirement, dependencies) if asked.name == "torch"]
    assert sorted(map(str, torch.specifier)) == [
        "<{}.{}".format(*BELOW),
        ">={}.{}".format(*FROM),
    ]
    assert all(map(torch.specifier.contains, TESTED))
    assert min(Version(version).release[:2] for version in TESTED) == FROM
    assert max(Version(version).release[:2] for version in TESTED) < BELOW


@pytest.mark.parametrize("version", [*TESTED, "2.13.0+cpu", "2.14.0.dev20260101+cu130", "2.12.1a0+git1234"])
def test_a_torch_within_the_range_is_taken(installed, version):
    installed(version)
    require_torch()


@pytest.mark.parametrize(
    "version", ["2.8.0", "2.11.0", "2.15.0", "2.15.0.dev20261101+cpu", "3.0", "1.13.1", "unknown", None]
)
def test_a_torch_outside_the_range_is_refused_in_one_line(installed, version):
    installed(version)
    with pytest.raises(TorchVersionError) as refused:
        require_torch()
    assert "\n" not in str(refused.value)
    assert f"(got {version or 'none'})" in str(refused.value)
    with pytest.raises(TorchVersionError), World(2) as world:
        world.run(int)


def test_the_page_on_compatibility_names_what_is_tested():
    page = (ROOT / "docs" / "compatibility.md").read_text()
    assert set(TESTED) <= set(re.findall(r"`(\d+\.\d+\.\d+)`", page))
    assert "torch {}.{}".format(*FROM) in (ROOT / "README.md").read_text()


COMMANDS = [
    ["sweep", "mine:save", "--world", "2"],
    ["replay", "writer.finish=exit", "--scenario", "mine:save"],
    ["crash", "dcp-overwrite"],
    ["crash", "--", "python", "train.py", "{out}"],
    ["damage", "dcp-save"],
    ["scale", "dcp-save"],
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(SCENARIO)
    (tmp_path / "train.py").write_text("import torch\nopen('ran', 'w')\n")
    (tmp_path / "test_mine.py").write_text(MARKED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_each_command_ends_with_one_line_and_two(folder, installed, capsys, arguments):
    installed("2.8.0")
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert re.fullmatch(r"faultkit: torch must be .* \(got 2\.8\.0\); for example: pip install .*\n", err)
    assert sorted(os.listdir(folder)) == ["mine.py", "test_mine.py", "train.py"]


def test_the_plugin_ends_the_session_with_one_line(folder):
    told = folder / "site" / "torch-2.8.0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.8.0\n")
    path = os.pathsep.join([str(folder / "site"), str(ROOT), str(ROOT / "plugins")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "ERROR: torch must be " in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "ran").exists()
