"""What ``module:attribute`` names is had, or it is told why not, whatever the module does."""

from __future__ import annotations

import os
import sys

import pytest

from faultkit.exceptions import ImportMistake
from faultkit.importing import has_module, imported


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported as ``of_a_user``."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "of_a_user", raising=False)

    def write(code):
        (tmp_path / "of_a_user.py").write_text(code)

    return write


def test_a_name_of_several_parts_is_looked_up_in_turn(module):
    module("class Saving:\n    @staticmethod\n    def save(): return 3")
    assert imported("of_a_user:Saving.save")() == 3


IN_A_THREAD = "import os, threading\nsave = print\nthread = {}\nthread.start(); thread.join()"
IN_A_POOL = (
    "import os\nfrom concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor() as pool: pool.submit(os._exit, 6).result()"
)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # it tells SystemExit, too
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise SystemExit", "it calls sys.exit()"),
        ("import sys; sys.exit(0)", "it calls sys.exit(0)"),
        ("import os; os._exit(0)", "it calls os._exit(0)"),
        ("import os\ntry: os._exit(4)\nexcept BaseException: save = print", "it calls os._exit(4)"),
        (IN_A_THREAD.format("threading.Thread(target=os._exit, args=(5,))"), "it calls os._exit(5)"),
        (IN_A_POOL, "it calls os._exit(6)"),
        ("raise GeneratorExit('x')", "GeneratorExit: x"),
        ("raise ValueError('one\\ntwo')", "ValueError: one"),
        ("import no_such_module_at_all", "No module named"),
        ("def __getattr__(name): raise RuntimeError('not now')", "cannot be had: RuntimeError: not now"),
        ("def saved(): pass", "did you mean 'saved'"),
    ],
)
def test_what_a_module_did_instead_is_told_in_one_line(module, code, told, capfd):
    module(code)
    leave = os._exit
    with pytest.raises(ImportMistake) as caught:
        imported("of_a_user:save")
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert os._exit is leave and capfd.readouterr() == ("", "")
    assert "of_a_user" not in sys.modules or "cannot be imported" not in str(caught.value)


def test_a_module_that_forks_while_it_is_imported_may_end_the_child(module):
    module(
        "import os\nchild = os.fork()\nif not child: os._exit(7)\n"
        "status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])"
    )
    assert imported("of_a_user:status") == 7


def test_ctrl_c_passes(module):
    module("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        imported("of_a_user:save")


@pytest.mark.parametrize(
    ("name", "there"), [("os", True), ("os.path", True), ("no_such_module", False), ("", False), ("__main__", False)]
)  # fmt: skip
def test_a_module_is_there_or_not(name, there, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert has_module(name) is there
