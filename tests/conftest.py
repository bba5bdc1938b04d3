"""Modules that a test writes into a directory of its own end with that test.

Guarantees: in the process that runs the tests, no test imports what an earlier one wrote under the same name, whatever
the order; the search path is what it was. Not covered: what a test imports in processes of its own.
"""

import sys

import pytest


@pytest.fixture(autouse=True)
def _written_modules_end(tmp_path_factory):
    path = list(sys.path)
    known = set(sys.modules)
    yield
    sys.path[:] = path
    written = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(written):
            del sys.modules[name]


SESSIONS = {"all_kinds", "replayed", "with_workers"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Under ``--dist loadgroup`` one worker has all tests of the sessions that are shared, and none waits for them."""
    for item in items:
        if SESSIONS & set(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group("sessions"))
