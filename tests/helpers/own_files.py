"""Which files of our own a text tells of: a frame of faultkit has no place in what a user reads of his own code.

A test that names one file says nothing any more once that file is moved, and stays green.  `files_told` knows all that
there are, wherever they lie now; `tests/test_of_tests.py` holds that no test names a file of ours that is not there.
"""

from __future__ import annotations

import re

from tests.helpers.places import ROOT

__all__ = ["files_told"]

_PLACES = {"faultkit": ROOT, "pytest_faultkit": ROOT / "plugins"}
_FILE = re.compile(r"\b((faultkit|pytest_faultkit)(?:/\w+)+\.\w+)")


def files_told(text: str) -> list[str]:
    """Each file of faultkit and its plugin that `text` names, as ``faultkit/worlds/rank.py``, once for each time."""
    return [file for file, package in _FILE.findall(text) if (_PLACES[package] / file).is_file()]
