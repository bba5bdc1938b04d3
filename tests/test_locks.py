"""What `make` installs is known to the last package: `locks/` names one version of each, for every torch tested on.

Of what `make test-engines` installs, one lock has all but what is installed without the versions that it asks for.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.helpers.places import ROOT
from tests.helpers.stock import TESTED
from tests.helpers.stuck import SECONDS_MAX

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {path.stem.removeprefix("torch-"): path for path in (ROOT / "locks").glob("torch-*")}
SITE = ROOT / "locks" / "docs.txt"
(ENGINES,) = set((ROOT / "locks").iterdir()) - {*LOCKS.values(), SITE}
NEEDED = ROOT / "tests_engines" / "requirements.txt"
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")


def pins(lock, python):
    """{package: version} of a lock on one Python.  Fails where a line is no such pin, or a package has two."""
    environment = {"python_version": python.rpartition(".")[0], "python_full_version": python}
    found = {}
    for line in lock.read_text().splitlines():
        if line.startswith("#"):
            continue
        pin = Requirement(line)
        assert re.fullmatch(r"==[\w.+!]+", str(pin.specifier)) and not pin.url and not pin.extras, line
        if pin.marker is None or pin.marker.evaluate(environment):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} has two versions on Python {python}"
            found[name] = Version(str(pin.specifier)[2:])
    return found


def asked_for(*extras):
    """What faultkit asks for with `extras`, and with the extras that these name."""
    project = PROJECT["project"]
    texts = [*project["dependencies"], *PROJECT["build-system"]["requires"]]
    left = list(extras)
    while left:
        for text in project["optional-dependencies"][left.pop()]:
            asked = Requirement(text)
            if asked.name == "faultkit":
                left += asked.extras
            else:
                texts.append(text)
    return [Requirement(text) for text in texts]


def needed_by_engines():
    lines = (line.partition("#")[0].strip() for line in NEEDED.read_text().splitlines())
    return asked_for(*PROJECT["project"]["optional-dependencies"]) + [
        Requirement(one) for one in lines if one
    ]


def test_there_is_a_lock_for_each_torch_that_is_tested():
    assert sorted(LOCKS) == sorted(TESTED)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("torch", TESTED)
def test_a_lock_names_one_version_of_all_that_is_asked_for(torch, python):
    locked = pins(LOCKS[torch], python)
    assert locked["torch"] == Version(torch)
    for asked in asked_for("test"):
        name = canonicalize_name(asked.name)
        assert name in locked and asked.specifier.contains(locked[name]), str(asked)


@pytest.mark.parametrize("torch", TESTED)
def test_a_lock_names_all_that_comes_with_it(torch):
    locked = pins(LOCKS[torch], "3.11.0").keys()
    reached, left = set(), [asked.name for asked in asked_for("test")]
    while left:
        name = canonicalize_name(left.pop())
        if name not in reached:
            reached.add(name)
            needed = map(Requirement, importlib.metadata.distribution(name).requires or ())
            left += [
                each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    assert "markupsafe" in reached and reached <= locked


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_of_the_engines_names_one_version_of_all_that_their_tests_need(python):
    locked = pins(ENGINES, python)
    assert str(locked["torch"]) in TESTED and ENGINES.stem == f"engines-torch-{locked['torch']}"
    assert len(needed_by_engines()) > len(asked_for("test"))
    for asked in needed_by_engines():
        name = canonicalize_name(asked.name)
        assert name in locked and asked.specifier.contains(locked[name]), str(asked)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_of_the_site_names_what_makes_it_and_no_torch(python):
    locked = pins(SITE, python)
    for line in (ROOT / "docs" / "requirements.txt").read_text().splitlines():
        asked = Requirement(line)
        assert asked.specifier.contains(locked[canonicalize_name(asked.name)]), line
    assert "torch" not in locked
    shown = told("-B", "docs").stdout
    assert f"-c locks/{SITE.name} -r docs/requirements.txt" in shown and "zensical build --strict" in shown


def test_a_lock_names_no_place_that_it_came_from():
    for path in (*LOCKS.values(), ENGINES, SITE):
        assert not re.search(r"://|--|\bindex\b|\.(org|com|io)\b", path.read_text()), path


def told(*arguments):
    """What `make` would run, or says instead."""
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    command = ["make", "-n", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)


@pytest.mark.parametrize("torch", TESTED)
def test_make_installs_by_the_lock_and_builds_with_what_is_locked(torch, tmp_path):
    (installs,) = [
        line
        for line in told("setup", f"TORCH={torch}", f"VENV={tmp_path}").stdout.splitlines()
        if "pip install" in line
    ]
    assert f"-c locks/torch-{torch}.txt" in installs


def test_the_engines_are_installed_by_their_lock_with_every_extra_into_an_environment_of_their_own():
    shown = told("-B", "test-engines").stdout
    (installs,) = [line for line in shown.splitlines() if "--no-build-isolation -e" in line]
    extras = re.search(r"-e '\.\[(.+)\]'", installs)[1].split(",")
    assert f"-c locks/{ENGINES.name}" in shown and f"-r {NEEDED.relative_to(ROOT)}" in installs
    assert {str(one) for one in asked_for(*extras)} == {
        str(one) for one in asked_for(*PROJECT["project"]["optional-dependencies"])
    }
    assert ".venv-engines/bin/python -m pytest tests_engines" in shown and ".venv/" not in shown


def test_each_torch_has_an_environment_of_its_own(tmp_path):
    shown = told("-B", "test", f"TORCH={TESTED[-1]}").stdout
    assert f".venv-torch-{TESTED[-1]}/bin/python -m pytest" in shown and "--no-build-isolation -e" in shown
    assert ".venv/" not in shown


def test_a_torch_without_a_lock_is_refused_with_those_that_have_one():
    refused = subprocess.run(
        ["make", "test", "TORCH=9.9"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert refused.returncode == 2
    assert f"torch 9.9 is not one of {' '.join(sorted(TESTED))}" in refused.stderr
    assert not (ROOT / ".venv-torch-9.9").exists()


def test_the_newest_of_everything_is_asked_for_without_a_lock():
    shown = told("test-newest").stdout
    assert "--upgrade --upgrade-strategy eager" in shown and "locks/" not in shown
    assert ".venv-newest/bin/python -m pytest" in shown
