"""What `make test-engines` installs is there, in the versions of the lock, and can be imported beside its torch.

A package that cannot be had is a failure here, never a test that is left out.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sysconfig

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.places import ROOT

(LOCK,) = (ROOT / "locks").glob("engines-torch-*.txt")
MODULES = (
    "accelerate",
    "deepspeed",
    "distributed",
    "lightning",
    "megatron.core.dist_checkpointing",
    "moto.server",
    "nvidia_resiliency_ext.checkpointing.local.ckpt_managers.local_manager",
    "ray",
    "s3fs",
    "s3torchconnector.dcp",
    "safetensors.torch",
    "submitit",
    "torch_checkpointing",
    "torchsnapshot",
    "torchtitan.components.checkpoint",
    "transformers",
)


@pytest.mark.filterwarnings("ignore")  # of others, while they are imported
@pytest.mark.parametrize("module", MODULES)
def test_a_package_can_be_imported(module):
    assert importlib.import_module(module).__name__ == module


def test_what_is_installed_has_the_version_that_the_lock_names():
    pins = [Requirement(line) for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    locked = {canonicalize_name(pin.name): pin for pin in pins if pin.marker is None or pin.marker.evaluate()}
    installed = importlib.metadata.distributions(path=[sysconfig.get_path("purelib")])
    seen = {canonicalize_name(one.metadata["Name"]): one.version for one in installed}
    both = locked.keys() & seen.keys()
    assert {"torch", "moto", "s3fs", "torch-checkpointing", "deepspeed"} <= both
    wrong = {name: seen[name] for name in both if not locked[name].specifier.contains(seen[name])}
    assert not wrong
