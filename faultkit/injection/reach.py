"""Which implementation of a method a call really reaches: how far an override goes on with ``super()``.

A fault must enter beneath the code under test.  `innermost` walks the method resolution order from the most
derived implementation and goes one further as long as that implementation's code calls the same method of
``super()``, or of a base class that it names.  An abstract implementation is not gone into.  It is a static
look at the byte code: a call that is written is taken for one that happens; ``getattr(super(), name)`` and a
base bound to a local name are not seen; native code ends the walk.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

__all__ = ["innermost"]

WRAPPER_DEPTH_MAX = 16
_LOADS = ("LOAD_ATTR", "LOAD_METHOD")


def innermost(cls: type, name: str) -> type | None:
    """The class whose own `name` is entered last when ``cls().name()`` is called; None where none has it."""
    owners = [owner for owner in cls.__mro__ if name in vars(owner)]
    if not owners:
        return None
    reached = owners[0]
    while (following := _next_owner(reached, owners, name)) is not None:
        reached = following
    return reached


def _next_owner(owner: type, owners: list[type], name: str) -> type | None:
    later = owners[owners.index(owner) + 1 :]
    if not later:
        return None
    named = {base.__name__: base for base in owner.__mro__[1:]}
    for function in _functions(vars(owner)[name]):
        code = function.__code__
        own_name = code.co_varnames[0] if code.co_argcount else "self"
        for receiver in _receivers(code, name, own_name):
            base = function.__globals__.get(receiver, named.get(receiver)) if receiver else None
            found: type | None
            if receiver == "":
                found = later[0]
            elif isinstance(base, type) and base in owner.__mro__[1:]:
                found = next((o for o in base.__mro__ if o in later), None)
            else:
                continue
            if found is not None and not getattr(vars(found)[name], "__isabstractmethod__", False):
                return found
    return None


def _functions(attribute: Any) -> Iterator[FunctionType]:
    """The Python functions behind a class attribute: itself, and what its decorators wrap."""
    waiting: list[Any] = [attribute]
    seen: set[int] = set()
    while waiting and len(seen) < WRAPPER_DEPTH_MAX:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        for inner in ("__func__", "__wrapped__", "func"):
            if hasattr(found, inner):
                waiting.append(getattr(found, inner))
        if isinstance(found, FunctionType):
            yield found


def _receivers(code: CodeType, name: str, own_name: str) -> Iterator[str]:
    """For each call of `name`: "" where it is one of super(), else the name it is looked up on."""
    if name in code.co_names:
        before = None
        for instruction in dis.get_instructions(code):
            if instruction.argval == name:
                if instruction.opname.startswith("LOAD_SUPER"):
                    yield ""
                elif instruction.opname in _LOADS and before is not None:
                    result_of_call = before.opname.startswith("CALL")
                    is_variable = (
                        before.opname.startswith(("LOAD_FAST", "LOAD_DEREF")) and before.argval != own_name
                    )
                    if (result_of_call or is_variable) and "super" in code.co_names:
                        yield ""
                    elif isinstance(before.argval, str) and before.argval != own_name:
                        yield before.argval
            before = instruction
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _receivers(constant, name, own_name)
