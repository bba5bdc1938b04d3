"""Tests that state something of the stock engine run on the versions that they name."""

from __future__ import annotations

import pytest

from tests.helpers import stock as module
from tests.helpers.stock import TORCH, stock, stock_is


@pytest.mark.parametrize(
    ("version", "inside"),
    [("2.13.0", True), ("2.13.1", True), ("2.14.0", False), ("2.14.1", False), ("2.12.9", False)],
)
def test_a_range_holds_the_versions_that_it_names(monkeypatch, version, inside):
    monkeypatch.setattr(module, "TORCH", version)
    assert stock_is(">=2.13,<2.14") is inside
    mark = stock(">=2.13,<2.14")
    assert mark.args == (not inside,) and version in mark.kwargs["reason"]


def test_the_installed_torch_is_named_by_its_release():
    import torch

    assert torch.__version__.startswith(TORCH)


def test_a_range_that_is_never_tested_is_refused():
    with pytest.raises(ValueError, match="no tested version lies in it"):
        stock("<2.0")
