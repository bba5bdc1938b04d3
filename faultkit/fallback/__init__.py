"""What a restart comes back to when the newest of several checkpoints is damaged or incomplete.

    from faultkit import fallback

    found = fallback.survey("reference,fallback=true", world=2)            # saves three steps, damages the newest
    found = fallback.survey("reference", work="prune", world=2)            # and prunes before the restart
    print(found.text())
    found.raise_for_violations()

Every rank must come back to the same whole checkpoint, the newest or the one before, or every rank must refuse; and a
prune must leave what a restart came back to before it.  Importing this package imports no torch.
"""

from __future__ import annotations

from faultkit.fallback.survey import ACTIONS, WORK, Case, Fallback, preloaded, require_work, survey

__all__ = ["ACTIONS", "WORK", "Case", "Fallback", "preloaded", "require_work", "survey"]
