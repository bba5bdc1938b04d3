"""What a load that failed has left in what it loads into: the evidence of `atomicity`.

    with overwritten.watching(state, promised=True):      # of a checkpointer's load
        load(state, directory)

Guarantees: the state is looked at by checksums before and after, and where the load raises, one event says which leaves
are not as they were, and whether the error says so.  Objects that hand their state over are left alone: asking them
twice would be noticed.  Not covered: what is judged of it (`faultkit.checks.atomicity`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from faultkit.injection.engine import content
from faultkit.injection.session import Session
from faultkit.injection.session_parts.armed import current

__all__ = ["EVENT", "record", "says_so", "watching"]

EVENT = "overwritten"
CHAIN_LENGTH_MAX = 20
SAYING = re.compile(
    r"part(ly|ially)[ -](loaded|overwritten|restored|filled|modified|updated|changed)|(undefined|inconsistent) state"
    r"|must not be used|no longer (valid|usable)|re-?initiali[sz]e",
    re.IGNORECASE,
)


@contextlib.contextmanager
def watching(state: Any, *, promised: bool) -> Iterator[None]:
    """Watch a load of a checkpointer into `state`, which has `promised` to leave it as it was where it raises."""
    session = current()
    if session is None or session.closed:
        yield
        return
    before = _fingerprint(state)
    try:
        yield
    except BaseException as error:
        after = _fingerprint(state)
        if before is not None and after is not None:
            changed = [name for name in before if before[name] != after.get(name)]
            added = [name for name in after if name not in before]
            record(session, [*changed, *added], len(before), error, by="checkpointer", promised=promised)
        raise


def record(
    session: Session, leaves: list[str], count: int, error: BaseException, *, by: str, promised: bool = False
) -> None:
    """Record which of `count` leaves a load that raised `error` has changed."""
    if not session.closed:
        session.record(EVENT, by=by, promised=promised, said=says_so(error), leaves=leaves, count=count)


def says_so(error: BaseException) -> bool:
    """Whether the error, its notes or what it comes from say that the state is not as it was."""
    following: BaseException | None = error
    for _ in range(CHAIN_LENGTH_MAX):
        if following is None:
            break
        texts = [str(following), *map(str, getattr(following, "__notes__", ()))]
        if any(SAYING.search(text) for text in texts):
            return True
        following = following.__cause__ or following.__context__
    return False


def _fingerprint(state: Any) -> dict[str, Any] | None:
    return content.fingerprint(_without_objects(state)) if isinstance(state, Mapping) else None


def _without_objects(state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_objects(value) if isinstance(value, Mapping) else value
        for key, value in state.items()
        if not (hasattr(value, "state_dict") and hasattr(value, "load_state_dict"))
    }
