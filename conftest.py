"""What every test of this repository stands on: an environment that is the same everywhere.

A test sees no trace of the shell it was started from (a batch job exports RANK and WORLD_SIZE, and a
process group would believe them), uses one computing thread per process, and leaves no process group
behind in the pytest process.  Settings of a single test file do not belong here.  A test that states
something of the stock engine names the versions of torch for which it is true: `tests/helpers/stock.py`.
"""

from __future__ import annotations

import os
import sys

import hypothesis
import pytest

from tests.helpers.brisk import pytest_collection  # noqa: F401  it is a hook

pytest_plugins = ["pytester", "tests.conformance.second_tries", "tests.helpers.fixtures"]

_LEAKING_NAMES = (
    "GROUP_RANK",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "RANK",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
    "WORLD_SIZE",
)
_LEAKING_PREFIXES = ("FAULTKIT_", "GLOO_", "TORCHELASTIC_", "TORCH_")

# At import, not in a fixture: torch reads some of these when it is imported, which collection may cause.
# A worker of xdist was started from a clean environment, and what its controller added since is meant.
if "PYTEST_XDIST_WORKER" not in os.environ:
    for _name in list(os.environ):
        if _name in _LEAKING_NAMES or _name.startswith(_LEAKING_PREFIXES):
            del os.environ[_name]
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["FAULTKIT_PROGRESS"] = (
    "0"  # else a command that a slow machine makes slower says more than a test expects
)

# Deadlines would judge the machine. On a server the examples are the same each time, so that a red run
# is about the change; a failure prints what reproduces it.
hypothesis.settings.register_profile(
    "faultkit", deadline=None, print_blob=True, derandomize=bool(os.environ.get("CI"))
)
hypothesis.settings.load_profile("faultkit")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    # xdist's own choice deals tests out one by one, so that both workers set up what a file's tests share
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


@pytest.fixture(autouse=True)
def _no_process_group_is_left():
    yield
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
        pytest.fail("the test left a torch.distributed process group behind in the pytest process")
