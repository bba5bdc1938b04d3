"""The one survey that the tests of damage share: it is that of the first example of the page."""

import re

import pytest

from tests.helpers import places

PAGE = places.page("damage.md")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="session")
def page():
    return PAGE


@pytest.fixture(scope="session")
def blocks():
    return BLOCKS


@pytest.fixture(scope="session")
def found():
    names = {}
    exec(BLOCKS[0], names)
    return names["found"]
