"""A module that the caller loads again is the one that ranks run, on every kind of world.

The server starts anew each time, which costs seconds: all kinds look on at one reload, and no test takes a module by
the name that another test's had.
"""

import contextlib
import importlib
import sys

import pytest

from faultkit import Returned, World
from faultkit.processes import module_finder

pytestmark = pytest.mark.slow

KINDS = ("warm", "fresh", "simulated")


def write(directory, version, name):
    (directory / f"{name}_helper.py").write_text(f"VERSION = {version}\n")
    (directory / f"{name}_work.py").write_text(
        f"import {name}_helper\n\ndef work():\n    return {name}_helper.VERSION\n"
    )


@pytest.mark.parametrize("name", ["imported", "preloaded"])
def test_after_a_reload_the_new_one_runs(tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write(tmp_path, 10, name)
    module = importlib.import_module(f"{name}_work")
    preload = (module.__name__,) if name == "preloaded" else ()
    with contextlib.ExitStack() as stack:
        worlds = [stack.enter_context(World(1, kind=kind, backend="", preload=preload)) for kind in KINDS]
        for world in worlds:
            assert world.run(module.work).outcomes == {0: Returned(10)}, world.kind
            rank = world.pids()
            assert world.run(module.work).outcomes == {0: Returned(10)}, world.kind
            assert world.kind == "fresh" or world.pids() == rank, "nothing was loaded again"
        write(tmp_path, 200, name)
        importlib.reload(sys.modules[f"{name}_helper"])
        for world in worlds:
            assert world.run(module.work).outcomes == {0: Returned(200)}, world.kind


def test_of_two_files_of_one_name_the_one_imported_now_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for version in (1, 22):
        directory = tmp_path / str(version)
        directory.mkdir()
        write(directory, version, "twofold")
        for name in ("twofold_helper", "twofold_work"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(directory))
            work = importlib.import_module("twofold_work")
            with World(1, backend="", preload=("twofold_work",)) as world:
                assert world.run(work.work).outcomes == {0: Returned(version)}


def test_a_module_that_comes_where_another_went_is_known(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("went", "came"):
        (tmp_path / f"{name}.py").write_text("")
    importlib.import_module("went")
    module_finder.loadings()
    del sys.modules["went"]
    came, number = importlib.import_module("came"), len(sys.modules)
    before = module_finder.loadings()
    assert module_finder.loadings() == before
    importlib.reload(came)
    assert len(sys.modules) == number and module_finder.loadings() != before
