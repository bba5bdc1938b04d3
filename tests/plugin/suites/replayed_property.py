"""A property under the plan of a replay."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultkit import strategies

ran = []


def save(directory):
    import torch.distributed.checkpoint as dcp

    dcp.save({"step": 1}, checkpoint_id=directory)


@pytest.mark.world(2)
@given(plan=strategies.rank_failures(2), number=st.integers())
def test_a_property_is_replayed(world, checkpoint_dir, plan, number):
    ran.append(str(plan))
    run = world.run(save, checkpoint_dir, plan=plan)
    assert (ran, number) == (["writer.write_data@1=raise(OSError, ENOSPC)"], 0)
    run.raise_for_violations()
    assert settings.get_current_profile_name() == "nightly"
    assert settings.get_profile("nightly").max_examples == 5_000
    assert settings.get_profile("dev").max_examples == 7  # that of the conftest
