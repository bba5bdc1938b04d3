"""Looks up what a campaign found that does one thing as a whole: growth, a resumed training, a reshard.

Guarantees: an entry is gone only where the campaign came to its end, and did at least what its example says.  Not
covered: campaigns of many plans, states or lives, which know more of what each of them had shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from faultkit.known.entries import Entry, Example, Occurrence
from faultkit.known.sorting import Sorted, sort

__all__ = ["sorted_by_example"]


def sorted_by_example(found: Sequence[Occurrence], entries: Sequence[Entry], done: Example | None) -> Sorted:
    """`found` sorted by `entries`; `done` is what was done, None where it did not come to its end."""

    def covers(_: Entry, example: Example) -> bool:
        if (
            done is None
            or not 0 <= example.samples <= done.samples
            or not {*example.load_on} <= {*done.load_on}
        ):
            return False
        return example == msgspec.structs.replace(done, samples=example.samples, load_on=example.load_on)

    return sort(found, entries, covers=covers)
