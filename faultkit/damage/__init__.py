"""Damage at rest: what happens to a finished checkpoint on the disk, and whether a load notices.

    from faultkit import damage

    found = damage.survey("dcp-save", world=2)      # saves, damages one thing at a time, loads each
    print(found.text())                             # a table: part of the file x kind of damage
    found.silent                                    # the damage that no load noticed although the data is wrong

A finished checkpoint is cut into its regions by reading the real formats (`regions`): the zip archives that
``torch.save`` writes, the pickle of ``.metadata``, safetensors.  Each region is then flipped, zeroed, cut off,
exchanged with another, replaced by that of an older checkpoint, or lost (`damages`), and what a load makes of it
is judged as the states of `faultkit.crash` are.  Importing this package imports no torch.
"""

from __future__ import annotations

from faultkit.damage.damages import ACTIONS, Damage, apply, damages_of
from faultkit.damage.regions import Region, regions_of
from faultkit.damage.survey import Case, Survey, survey

__all__ = ["ACTIONS", "Case", "Damage", "Region", "Survey", "apply", "damages_of", "regions_of", "survey"]
