"""Exceptions built from an action, and exceptions described whatever they do."""

from __future__ import annotations

import builtins
import pickle
import traceback

import pytest
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import _wrap_exception

from faultkit.injection.errors import build, describe
from faultkit.plan import Fault

BUILTINS = sorted(
    {
        value.__name__
        for value in vars(builtins).values()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
)


def _built(action, allow=()):
    fault = Fault.parse(f"writer.finish={action}", allow)
    return build(fault.action, str(fault))


@pytest.mark.parametrize("name", BUILTINS)
def test_every_builtin_exception_can_be_built_and_says_who_injected_it(name):
    error = _built(f"raise({name})")
    assert type(error).__name__ == name
    assert f"injected by faultkit: writer.finish=raise({name})" in str(error)
    assert type(pickle.loads(pickle.dumps(error))) is type(error)
    with_message = _built(f'raise({name}, "the message")')
    assert "the message" in str(with_message)
    assert with_message.__notes__ == [f'injected by faultkit: writer.finish=raise({name}, "the message")']


def test_an_os_error_looks_like_the_real_one():
    error = _built("raise(OSError, ENOENT)")
    assert (type(error), error.errno, error.strerror) == (FileNotFoundError, 2, "No such file or directory")
    assert _built('raise(OSError, EIO, "a broken disk")').args == (5, "a broken disk")
    assert pickle.loads(pickle.dumps(error)).__notes__ == error.__notes__


class Picky(Exception):
    def __init__(self):
        super().__init__("only this")


class Impossible(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


def test_types_of_other_modules_are_imported_and_called():
    name = f"{__name__}:Picky"
    assert str(_built(f"raise({name})", [name])) == "only this"
    name = "torch.distributed.checkpoint.api:CheckpointException"
    assert _built(f"raise({name})", [name]).failures == {}
    name = f"{__name__}:Impossible"
    with pytest.raises(ValueError, match="must be built from a message or from nothing"):
        _built(f"raise({name})", [name])


def _raised(error, cause=None, suppress=False):
    try:
        if cause is not None or suppress:
            raise error from cause
        raise error
    except BaseException as caught:
        return caught


def test_the_chain_is_what_a_traceback_would_show():
    root = _raised(OSError(5, "io"), cause=_raised(KeyError("root")))
    record = describe(root)
    assert (record.type_name, record.module, record.errno) == ("OSError", "builtins", 5)
    assert [error.type_name for error in record.chain()] == ["OSError", "KeyError"]
    assert "The above exception was the direct cause" in record.traceback_text
    second = TypeError("second")
    second.__context__ = ValueError("first")
    assert describe(second).context.message == "first"
    second.__suppress_context__ = True
    assert describe(second).context is None


def test_the_failures_of_the_engine_are_described_by_rank():
    inner = _raised(OSError(28, "full"), cause=ValueError("deep"))
    inner.add_note("a note")
    error = _raised(dcp.CheckpointException("write", {2: _wrap_exception(inner), 0: (KeyError("x"), None)}))
    record = describe(error)
    assert record.step == "write"
    assert {rank: failure.type_name for rank, failure in record.failures.items()} == {
        2: "OSError",
        0: "KeyError",
    }
    assert (record.failures[2].errno, record.failures[2].notes) == (28, ("a note",))
    assert record.failures[2].cause.message == "deep"
    assert "_raised" in record.failures[2].traceback_text
    without = describe(error, tracebacks=False).failures.values()
    assert without and not any(failure.frames for failure in without)


def test_groups_keep_their_members():
    record = describe(ExceptionGroup("both", [ValueError("a"), ExceptionGroup("in", [OSError(2, "b")])]))
    assert [member.type_name for member in record.members] == ["ValueError", "ExceptionGroup"]
    assert record.members[1].members[0].errno == 2


class Hostile(Exception):
    def __str__(self):
        raise KeyboardInterrupt("from __str__")

    __repr__ = __str__

    @property
    def __notes__(self):
        raise SystemExit

    @property
    def __cause__(self):
        raise SystemExit


class HostileText(str):
    def __str__(self):
        raise TypeError

    def encode(self, *args):
        raise TypeError


def test_a_hostile_exception_is_described_all_the_same():
    record = describe(_raised(Hostile()))
    assert (record.type_name, record.notes) == ("Hostile", ())
    assert record.message == "<unprintable Hostile: __str__ raised KeyboardInterrupt>"
    assert "Hostile" in record.traceback_text
    assert describe(ValueError(HostileText("text"))).type_name == "ValueError"
    odd = ValueError("lone \udc80")
    odd.__notes__ = 17
    record = describe(odd)
    assert record.message == "lone \\udc80"
    assert record.notes == ()
    nameless = type("Nameless", (Exception,), {"__module__": 17})
    assert describe(nameless()).module == "?"


def test_cycles_and_long_chains_end():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert [error.message for error in describe(one).chain()] == ["one", "two"]
    error = None
    for number in range(5000):
        following = ValueError(str(number))
        following.__cause__ = error
        error = following
    assert 5 < len(describe(error).chain()) < 100
    wide = ExceptionGroup("wide", [ExceptionGroup("w", [ValueError(str(n))] * 40) for n in range(40)])
    assert len(describe(wide).chain()) < 1000


def test_messages_are_cut_only_on_request():
    error = ValueError("x" * 5000)
    error.add_note("y" * 5000)
    assert len(describe(error).message) == 5000
    cut = describe(error, message_length_max=100)
    assert cut.message == "x" * 100 + " ... (5000 characters)"
    assert len(cut.notes[0]) < 130


def test_the_traceback_text_is_the_interpreters():
    error = _raised(ValueError("plain"))
    assert describe(error).traceback_text == "".join(traceback.format_exception(error))
