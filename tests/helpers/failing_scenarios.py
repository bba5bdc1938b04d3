"""Scenarios that fail with one error: by a defect of faultkit that is planted here, and by themselves.

A file of its own, so that the server of the other tests can run them: one that a test writes is another module each
time, for which the server is started anew.
"""

import torch
import torch.distributed.checkpoint as dcp


def own(directory):
    from faultkit.injection.engine import hooks

    hooks.Arguments.get = None
    dcp.save({"weight": torch.ones(2)}, checkpoint_id=directory)


def theirs(directory):
    raise TypeError("'NoneType' object is not callable")
