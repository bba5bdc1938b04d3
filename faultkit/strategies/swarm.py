"""Swarm weighting: each example draws from a random subset of the families that there are.

With everything possible in every example, what needs two rare things at once is next to never tried.  So one
number, shared by all strategies of an example, says which families are in: 0 all of them, any other number
about half, chosen by a hash.  Shrinking lowers it to 0 first, and since choices keep their place in the full
list whatever is in, nothing else changes by that.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import hypothesis.strategies as st

__all__ = ["SWARM", "Choices", "some_of"]

SWARM: st.SearchStrategy[int] = st.shared(st.integers(0, 31), key="faultkit.strategies.swarm")

_Choice = TypeVar("_Choice")


def some_of(
    draw: Any,
    choices: Sequence[_Choice],
    families: Callable[[_Choice], Iterable[str]],
    among: Callable[[_Choice], bool] = lambda choice: True,
) -> _Choice:
    """One of `choices` of which all `families` are in and for which `among` holds; earlier ones are simpler.

    Where the swarm leaves nothing, any for which `among` holds.
    """
    chosen: _Choice = draw(_drawing(choices, draw(SWARM), families, among))
    return chosen


class Choices(Generic[_Choice]):
    """The same for choices that are drawn from again and again: what draws from them is made once.

    `among` gets a choice and the `key` that is given with each draw.
    """

    def __init__(
        self,
        choices: Sequence[_Choice],
        families: Callable[[_Choice], Iterable[str]],
        among: Callable[[_Choice, Any], bool],
    ) -> None:
        self._choices, self._families, self._among = choices, families, among
        self._made: dict[tuple[int, Any], st.SearchStrategy[_Choice]] = {}

    def drawn(self, draw: Any, key: Any) -> _Choice:
        """One of the choices, for `key`, a value that can be hashed."""
        place = (draw(SWARM), key)
        strategy = self._made.get(place)
        if strategy is None:
            strategy = _drawing(self._choices, place[0], self._families, lambda one: self._among(one, key))
            self._made[place] = strategy
        chosen: _Choice = draw(strategy)
        return chosen


def _drawing(
    choices: Sequence[_Choice],
    swarm: int,
    families: Callable[[_Choice], Iterable[str]],
    among: Callable[[_Choice], bool],
) -> st.SearchStrategy[_Choice]:
    def takes(choice: _Choice) -> bool:
        return among(choice) and all(_is_in(swarm, family) for family in families(choice))

    taken = takes if any(map(takes, choices)) else among
    return st.sampled_from(choices).filter(taken)


@functools.lru_cache(maxsize=1 << 16)
def _is_in(swarm: int, family: str) -> bool:
    # A checksum would not do: with it, two numbers leave in the same of many families, or the opposite.
    return swarm == 0 or hashlib.blake2b(f"{swarm} {family}".encode(), digest_size=1).digest()[0] < 128
