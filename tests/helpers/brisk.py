"""What importing torch makes is no garbage, so nothing looks for any while tests are collected, nor in it afterwards.

That takes more than a second of each session, half of it at the end of the interpreter.  The hook goes into this
suite's ``conftest.py``, and the text of this file into that of the sessions which tests start.  What tests themselves
make is collected as ever.
"""

import gc

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
