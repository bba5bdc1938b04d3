"""Which violation it is, and which of them somebody knows: identities, known defects, baselines."""

from __future__ import annotations

from faultkit.known.identity import Identity, identity_of
from faultkit.known.of_runs import identities

__all__ = ["Identity", "identities", "identity_of"]
