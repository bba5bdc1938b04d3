"""Arguments of calls of a store and of works, taken as torch's bindings take them.

Guarantees: what a binding takes is taken, and what it refuses is refused with TypeError: a number is no text, a text is
no list of keys, an amount is a whole number of 64 bits, a number of seconds is a float.  Not covered: the signatures
that torch's messages go on to list.
"""

from __future__ import annotations

import datetime
import operator
from typing import Any

__all__ = ["amount_of", "duration", "keys_of", "refusal", "text_of", "value_of"]

AMOUNT_LIMIT = 2**63


def refusal(call: str, rule: str, seen: Any) -> TypeError:
    return TypeError(f"{call}(): incompatible function arguments. {rule} (got {seen!r}).")


def value_of(call: str, value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            pass
    raise refusal(call, "Text is str or bytes", value)


def text_of(call: str, key: Any) -> str:
    if type(key) is str and key.isascii():
        return key
    return value_of(call, key).decode(errors="surrogateescape")


def keys_of(call: str, keys: Any) -> list[str]:
    if isinstance(keys, str | bytes | bytearray) or not hasattr(keys, "__iter__"):
        raise refusal(call, "Keys are a list of texts", keys)
    return [text_of(call, key) for key in keys]


def amount_of(call: str, amount: Any) -> int:
    try:
        found = operator.index(amount)
    except TypeError:
        raise refusal(call, "An amount is a whole number", amount) from None
    if not -AMOUNT_LIMIT <= found < AMOUNT_LIMIT:
        raise refusal(call, "An amount has 64 bits", amount)
    return found


def duration(call: str, value: Any) -> datetime.timedelta:
    if isinstance(value, float):
        return datetime.timedelta(seconds=value)
    if isinstance(value, datetime.timedelta):
        return value
    raise refusal(call, "A timeout is a datetime.timedelta, or a float in seconds", value)
