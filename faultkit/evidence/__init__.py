"""What a cluster left of a job that failed: read, and told rank by rank.

    from faultkit.evidence import read, tell

    evidence = read(["logs/", "dumps/"])
    told = tell(evidence)
    told.suspects                   # the ranks on which, as far as this goes, it began

Importing this package imports no torch.  Evidence is hostile input: nothing in it runs, and no path in it is followed.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.evidence.reading import EvidenceError, read
    from faultkit.evidence.telling import Told, tell
    from faultkit.evidence.values import Evidence, RankEvidence

__all__ = ["Evidence", "EvidenceError", "RankEvidence", "Told", "read", "tell"]

if not TYPE_CHECKING:  # else every misspelt name would type-check
    _HOMES = {
        "Evidence": "faultkit.evidence.values",
        "EvidenceError": "faultkit.evidence.reading",
        "RankEvidence": "faultkit.evidence.values",
        "Told": "faultkit.evidence.telling",
        "read": "faultkit.evidence.reading",
        "tell": "faultkit.evidence.telling",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
