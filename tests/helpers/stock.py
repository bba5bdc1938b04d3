"""What a test states of the stock engine is true for some versions of torch, and the test names them.

    @stock("<2.14")                        # elsewhere the test is skipped, with the reason
    def test_the_metadata_is_synced_before_its_bytes_are_written(): ...

    @pytest.mark.parametrize("plan", ["writer.reset=raise(ValueError)", pytest.param("...", marks=stock(">=2.14"))])

    expected = "ERROR" if stock_is("<2.14") else "NEW"

Versions are those of PEP 440, compared by release alone: "2.13.0+cpu" and a nightly "2.14.0.dev20260101" are 2.13.0
and 2.14.0.  A range in which none of the versions that faultkit is tested on lies would never be tested, and is
refused.  Nothing here imports torch.
"""

from __future__ import annotations

import importlib.metadata

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

__all__ = ["TESTED", "TORCH", "stock", "stock_is"]

TESTED = ("2.12.0", "2.13.0", "2.14.1")  # as in docs/compatibility.md
TORCH = Version(importlib.metadata.version("torch")).base_version


def stock_is(versions: str) -> bool:
    """Whether the installed torch lies in `versions`, such as "<2.14" or ">=2.13,<2.14"."""
    range_ = SpecifierSet(versions)
    if not any(map(range_.contains, TESTED)):
        raise ValueError(f"stock({versions!r}): no tested version lies in it ({', '.join(TESTED)})")
    return range_.contains(TORCH)


def stock(versions: str) -> pytest.MarkDecorator:
    """A mark: the test is run on torch in `versions` alone."""
    return pytest.mark.skipif(not stock_is(versions), reason=f"of torch {versions}, and this is {TORCH}")
