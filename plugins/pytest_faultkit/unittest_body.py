"""A test method of a ``unittest.TestCase`` as the body of an ``spmd`` test.

Guarantees: on every rank a `TestCase` of its own is made and run by unittest itself, with ``setUpModule``,
``setUpClass``, ``setUp``, the method, its cleanups and what tears down; the first error of these ends the body, a
subtest that failed is one.  What fixtures set on the instance in the process of pytest stands on the ranks' instances
by the same name.  A case that reports neither success nor failure has failed.  Not covered: what fixtures set on the
class; and pytest's process runs ``setUpModule`` and ``setUpClass``, too, since pytest does.
"""

from __future__ import annotations

import functools
import unittest
from collections.abc import Callable
from typing import Any

from pytest_faultkit.rank_body import comparisons, finished

__all__ = ["CaseBody", "attributes_of", "case_class_of"]


def case_class_of(item: Any) -> type[unittest.TestCase] | None:
    """The TestCase of which `item` is a method, None where it is none."""
    cls = getattr(item, "cls", None)
    return cls if isinstance(cls, type) and issubclass(cls, unittest.TestCase) else None


def attributes_of(item: Any) -> dict[str, Any]:
    """What fixtures have set on the instance of `item`."""
    instance = getattr(item, "_testcase", None) or item.instance
    own = vars(type(instance)(item.originalname))
    return {name: value for name, value in vars(instance).items() if name not in own}


class CaseBody:
    """A call that runs the method `name` of `cls` with `values` as attributes; `verbosity` is that of asserts."""

    def __init__(
        self, cls: type[unittest.TestCase], name: str, values: dict[str, Any], verbosity: int
    ) -> None:
        self.__module__, self.__qualname__ = cls.__module__, f"{cls.__qualname__}.{name}"
        self.cls, self.name, self.values, self.verbosity = cls, name, values, verbosity
        self.function = getattr(cls, name)

    def __reduce__(self) -> Any:
        return CaseBody, (self.cls, self.name, self.values, self.verbosity)

    def __call__(self) -> None:
        case = self.cls(self.name)
        vars(case).update(self.values)
        if not issubclass(self.cls, unittest.IsolatedAsyncioTestCase):
            setattr(case, self.name, _finishing(getattr(case, self.name), self.__qualname__))
        result = _Result()
        with comparisons(self.verbosity):
            unittest.TestSuite([case]).run(result)
        if result.ends:
            raise result.ends[0]
        if not result.is_success:
            raise RuntimeError(f"{self.__qualname__} was run and reported neither success nor failure")


def _finishing(method: Callable[[], Any], name: str) -> Callable[[], Any]:
    @functools.wraps(method)
    def call() -> Any:
        return finished(method(), name)

    return call


class _Result(unittest.TestResult):
    """Keeps what each part of a case ended with; an error comes before a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[BaseException] = []
        self.is_success = False

    def _fail(self, raised: Any) -> None:
        self.ends.insert(sum(not _is_wish(end) for end in self.ends), raised[1])

    def addSuccess(self, test: Any) -> None:
        self.is_success = True

    def addError(self, test: Any, err: Any) -> None:
        self._fail(err)

    def addFailure(self, test: Any, err: Any) -> None:
        self._fail(err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            err[1].add_note(f"in subtest {subtest._subDescription()}")
            self._fail(err)

    def addSkip(self, test: Any, reason: str) -> None:
        import pytest

        self.ends.append(pytest.skip.Exception(reason))

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        import pytest

        self.ends.append(pytest.xfail.Exception("expected failure"))

    def addUnexpectedSuccess(self, test: Any) -> None:
        self.ends.append(AssertionError("unexpected success"))


def _is_wish(end: BaseException) -> bool:
    return type(end).__name__ in ("Skipped", "XFailed")
