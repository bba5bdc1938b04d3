"""What general runs say of the checkpointers of files: each option changes what is lost, and the words say so."""

from __future__ import annotations

import pytest

from faultkit import crash
from faultkit.interception import shim
from faultkit.sweep import sweep
from tests.helpers.stock import stock

pytestmark = pytest.mark.slow

needs_compiler = pytest.mark.skipif(
    shim.compiler() is None, reason="torch.save opens a path by itself, and there is no C compiler"
)


@needs_compiler
@pytest.mark.parametrize(
    ("write", "killed", "power_cut"),
    [
        ("in_place", {"ERROR"}, {"ERROR", "OLD", "MIX"}),
        ("rename", set(), {"ERROR", "OLD"}),
        ("durable", set(), set()),
    ],
)
def test_what_a_crash_in_an_overwrite_costs_follows_from_the_way_of_writing(pair, write, killed, power_cut):
    found = crash.explore(f"torch-save.overwrite,write={write}", world=pair)
    assert found.complete
    verdicts = {
        model: {finding.verdict for finding in found.findings if model in finding.models}
        for model in ("killed", "weak")
    }
    assert verdicts["killed"] == killed
    assert bool(verdicts["weak"]) == bool(power_cut) and verdicts["weak"] <= power_cut


def words(scenario, **options):
    return set(sweep(scenario, world=2, **options).totals)


def test_ranks_that_exchange_what_failed_do_not_hang():
    points = ["torch.save"]
    assert words("torch-save.overwrite,write=rename", points=points) == {"HUNG"}
    assert words("torch-save.overwrite,write=rename,exchange=true", points=points) == {"HELD"}


def test_a_file_for_each_rank_is_a_mix_after_an_overwrite_that_failed_on_one():
    found = words("torch-save.overwrite,write=rename,ranks=every,exchange=true", points=["torch.save"])
    assert found == {"SILENT_WRONG"}


@stock("<2.14")
def test_zeros_of_a_consolidation_are_found_with_nothing_broken():
    assert words("dcp-hf.save,consolidate=writer") == {"SILENT_WRONG"}
    assert words("dcp-hf.save,ranks=first", points=["writer.*"]) == {"HELD"}
