"""A module that the caller loads again is the one that ranks run, on every kind of world."""

import importlib
import sys

import pytest

from faultkit import Returned, World


def write(directory, version):
    (directory / "reloaded_helper.py").write_text(f"VERSION = {version}\n")
    (directory / "reloaded_work.py").write_text(
        "import reloaded_helper\n\ndef work():\n    return reloaded_helper.VERSION\n"
    )


@pytest.mark.parametrize("preload", [(), ("reloaded_work",)], ids=["imported", "preloaded"])
@pytest.mark.parametrize("kind", ["warm", "fresh", "simulated"])
def test_after_a_reload_the_new_one_runs(tmp_path, monkeypatch, kind, preload):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write(tmp_path, 10)
    work = importlib.import_module("reloaded_work")
    with World(1, kind=kind, backend="", preload=preload) as world:
        assert world.run(work.work).outcomes == {0: Returned(10)}
        rank = world.pids()
        assert world.run(work.work).outcomes == {0: Returned(10)}
        assert kind == "fresh" or world.pids() == rank, "nothing was loaded again"
        write(tmp_path, 200)
        importlib.reload(sys.modules["reloaded_helper"])
        assert world.run(work.work).outcomes == {0: Returned(200)}


def test_of_two_files_of_one_name_the_one_imported_now_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for version in (1, 22):
        directory = tmp_path / str(version)
        directory.mkdir()
        write(directory, version)
        for name in ("reloaded_helper", "reloaded_work"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(directory))
            work = importlib.import_module("reloaded_work")
            with World(1, backend="", preload=("reloaded_work",)) as world:
                assert world.run(work.work).outcomes == {0: Returned(version)}
