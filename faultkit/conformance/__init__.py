"""The battery as a product: `check` puts every promise of a checkpointer to the test, on one report card.

    from faultkit.conformance import check

    card = check(MINE, budget_seconds=60)
    card.raise_for_violations()

Importing this package imports no torch.
"""

from __future__ import annotations

from faultkit._lazy import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faultkit.conformance.battery import Progress, check
    from faultkit.conformance.card import Broken, Effort, PromiseResult, ReportCard
    from faultkit.conformance.promises import PROMISES, Promise

__all__ = ["PROMISES", "Broken", "Effort", "Progress", "Promise", "PromiseResult", "ReportCard", "check"]

if not TYPE_CHECKING:  # else every misspelt name would type-check
    _HOMES = {
        "Broken": "faultkit.conformance.card",
        "Effort": "faultkit.conformance.card",
        "PROMISES": "faultkit.conformance.promises",
        "Progress": "faultkit.conformance.battery",
        "Promise": "faultkit.conformance.promises",
        "PromiseResult": "faultkit.conformance.card",
        "ReportCard": "faultkit.conformance.card",
        "check": "faultkit.conformance.battery",
    }
    __getattr__, __dir__ = attach(__name__, _HOMES)
