"""Growth: the same save many times in one life of the ranks, and what there is more of with each.

    from faultkit import growth

    found = growth.measure("dcp", saves=200, world=2)
    print(found.text())
    found.raise_for_violations()

Each rank counts after every save: descriptors, threads, child processes, shared memory, files and memory.  What is told
is a slope with its error; the check `growth` says which is a violation.  How costs grow with the number of ranks is
another matter (`faultkit.scale`).  Importing this package imports no torch.
"""

from __future__ import annotations

from faultkit.growth.measuring import SAVES, SAVES_MAX, SAVES_MIN, Growth, measure

__all__ = ["SAVES", "SAVES_MAX", "SAVES_MIN", "Growth", "measure"]
