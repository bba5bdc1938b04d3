"""What is saved in a case, as a value with a text: a drawn state, or some of the checkpointer's own.

    {'weight': Sharded((3, 2), 'bfloat16'), 'step': 7}     a recipe of `faultkit.strategies.recipes`
    OwnState(2)                                           what the checkpointer's `state` gives for step 2
    OwnState(2, ('model.weight', 'step'))                 of that only these leaves, and what they lie in

Guarantees: reading a text runs no code: it is read as Python writes values, with the names above, ``float``,
``complex``, ``Decimal``, ``date``, ``range`` and ``frozenset``, and nothing else.  Not covered: what ranks make of it
(`faultkit.reshard.ranks`).  Imports neither torch nor Hypothesis.
"""

from __future__ import annotations

import ast
import datetime
import decimal
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from faultkit.messages import listed, nearest, seen
from faultkit.strategies.recipes import DTYPES, LAYOUTS, SHARDING_KINDS, Alias, Sharded, StateRecipe, Tensor

__all__ = ["OwnState", "State", "battery", "read", "written"]

TEXT_CHARACTERS_MAX = 1_000_000
ELEMENTS_MAX = 1 << 28  # of a tensor that a text asks for
DIMENSIONS_MAX = 16


class OwnState(msgspec.Struct, frozen=True):
    """The state of `step`, as the checkpointer's `state` gives it; with `keep` only the leaves of these names."""

    step: int
    keep: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"OwnState({self.step}, {self.keep!r})" if self.keep else f"OwnState({self.step})"


State = StateRecipe | OwnState


def written(state: State) -> str:
    """The text that `read` reads."""
    return repr(state) if isinstance(state, OwnState) else repr(state)[len("StateRecipe(") : -1]


def read(text: str) -> State:
    """The state that `text` means.  Raises ValueError, in one line."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise ValueError(f"a state must have at most {TEXT_CHARACTERS_MAX:,} characters (got {len(text):,})")
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body)
    except (
        SyntaxError,
        RecursionError,
        MemoryError,
        TypeError,
        OverflowError,
        decimal.InvalidOperation,
    ) as error:
        raise ValueError(
            f"a state must be written as {{'weight': Tensor((2, 3), 'float32')}} or OwnState(2) (got {seen(text)}: "
            f"{error or type(error).__name__})"
        ) from None
    if isinstance(value, OwnState):
        return value
    if not isinstance(value, dict) or not value or not all(isinstance(key, str) for key in value):
        raise ValueError(
            f"a state must be a dict with a text for each key, or OwnState(2) (got {seen(text)})"
        )
    for leaf in value.values():
        if isinstance(leaf, Alias) and not isinstance(value.get(leaf.key), Tensor | Sharded):
            raise ValueError(f"a state: Alias must name a tensor of its top level (got {seen(leaf.key)})")
    return StateRecipe(value)


def battery(size: int) -> Iterator[tuple[str, StateRecipe]]:
    """States of one leaf, each with the family or the dtype that it is of: what can be drawn, each by itself.

    `size` is the most ranks of a world.
    """
    for dtype in DTYPES:
        yield dtype, StateRecipe({"weight": Tensor((2, 3), dtype)})
        yield dtype, StateRecipe({"weight": Sharded((size + 1, 2), dtype)})
    for shape in ((), (0,), (0, 4), (1,)):
        yield "", StateRecipe({"weight": Tensor(shape)})
    for layout in LAYOUTS[1:]:
        yield "", StateRecipe({"weight": Tensor((3, 2), "float32", layout)})
    for rows in (0, 1, 2 * size):
        yield "dtensor", StateRecipe({"weight": Sharded((rows, 2))})
    for by in ((1,), (0, 1), (1, 0), (0, 0), (None, 0), (0, None)):
        yield "dtensor_2d", StateRecipe({"weight": Sharded((size + 1, size + 2), by=by)})
    yield "sharded_tensor", StateRecipe({"weight": Sharded((size + 1, 2), kind="sharded_tensor")})
    plain: tuple[Any, ...] = (7, -0.0, float("nan"), 2**70, "text", "", True, None, 1 + 2j)
    for value in plain:
        yield "value", StateRecipe({"value": value})
    yield "bytes", StateRecipe({"value": b"\x00\xff"})
    for thing in ((1, "one"), decimal.Decimal("1.50"), range(3)):
        yield "object", StateRecipe({"value": thing})
    yield "alias", StateRecipe({"weight": Tensor((2,)), "tied": Alias("weight")})
    yield "nested", StateRecipe({"a": {"b": Tensor((2,))}})
    yield "nested", StateRecipe({"a": {"b": Tensor((2,)), "c": {"d": 1}}})
    yield "nested", StateRecipe({"a": [Tensor((2,)), {"b": 1}]})
    yield "nested", StateRecipe({"a": [1, 2]})


# -- reading ---------------------------------------------------------------------------------------------------------


def _tensor(shape: Any = (), dtype: Any = "float32", layout: Any = "contiguous") -> Tensor:
    _require_shape("Tensor", shape)
    _require_word("dtype", dtype, DTYPES)
    _require_word("layout", layout, LAYOUTS)
    return Tensor(shape, dtype, layout)


def _sharded(shape: Any, dtype: Any = "float32", kind: Any = "dtensor", by: Any = (0,)) -> Sharded:
    _require_shape("Sharded", shape)
    _require_word("dtype", dtype, DTYPES)
    _require_word("kind", kind, SHARDING_KINDS)
    axes = range(len(shape))
    if (
        not isinstance(by, tuple)
        or len(by) not in (1, 2)
        or any(one is not None and one not in axes for one in by)
    ):
        raise ValueError(
            f"Sharded: by must have a dimension of the tensor, or None, for one or two axes (got {seen(by)})"
        )
    return Sharded(shape, dtype, kind, by)


def _alias(key: Any) -> Alias:
    if not isinstance(key, str):
        raise ValueError(f"Alias must name a key (got {seen(key)})")
    return Alias(key)


def _own(step: Any, keep: Any = ()) -> OwnState:
    if type(step) is not int or not 0 < step < 1 << 31:
        raise ValueError(f"OwnState must have a step, from 1 on (got {seen(step)})")
    if not isinstance(keep, tuple) or not all(isinstance(name, str) for name in keep):
        raise ValueError(f"OwnState: keep must be a tuple of names of leaves (got {seen(keep)})")
    return OwnState(step, keep)


def _number(kind: Callable[..., Any]) -> Callable[..., Any]:
    def make(*values: Any) -> Any:
        try:
            return kind(*values)
        except ValueError as error:
            raise ValueError(f"a state: {error}") from None

    return make


CALLS: dict[str, Callable[..., Any]] = {
    "Alias": _alias,
    "Decimal": _number(decimal.Decimal),
    "OwnState": _own,
    "Sharded": _sharded,
    "StateRecipe": lambda tree: tree,
    "Tensor": _tensor,
    "complex": _number(complex),
    "date": _number(datetime.date),
    "float": _number(float),
    "frozenset": frozenset,
    "range": _number(range),
}


def _value(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() | complex() as value)):
            return -value
        case ast.Dict(keys=keys, values=values):
            return {
                _value(key): _value(value) for key, value in zip(keys, values, strict=True) if key is not None
            }
        case ast.List(elts=elements):
            return [_value(element) for element in elements]
        case ast.Tuple(elts=elements):
            return tuple(_value(element) for element in elements)
        case ast.Set(elts=elements):
            return {_value(element) for element in elements}
        case ast.Call(func=function, args=arguments, keywords=keywords):
            name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            if name not in CALLS:
                raise ValueError(
                    f"a state is made of {listed(CALLS)} (got {seen(name)}{nearest(name, CALLS)})"
                )
            named = {str(keyword.arg): _value(keyword.value) for keyword in keywords}
            return CALLS[name](*map(_value, arguments), **named)
    raise ValueError(
        f"a state is made of values, dicts, lists, tuples and {listed(CALLS)} (got {ast.unparse(node)[:80]})"
    )


def _require_shape(what: str, shape: Any) -> None:
    is_shape = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    elements = 1
    for size in shape if is_shape else ():
        elements *= max(1, min(size, ELEMENTS_MAX + 1))
    if (
        not is_shape
        or len(shape) > DIMENSIONS_MAX
        or elements > ELEMENTS_MAX
        or (what == "Sharded" and not shape)
    ):
        raise ValueError(
            f"{what} must have a shape of at most {DIMENSIONS_MAX} dimensions and {ELEMENTS_MAX:,} elements, "
            f"such as (2, 3) (got {seen(shape)})"
        )


def _require_word(name: str, word: Any, words: tuple[str, ...]) -> None:
    if word not in words:
        raise ValueError(
            f"a state: {name} must be one of {listed(words)} (got {seen(word)}){nearest(word, words)}"
        )
