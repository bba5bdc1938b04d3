"""Scenarios that break a promise, or none, with nothing broken.

A file of its own, so that the server of the other tests can run them: one that a test writes is another module each
time, for which the server is started anew.
"""

from faultkit.scenarios import WrongContent


def wrong():
    raise WrongContent("half of it")


def right():
    pass
