"""Actions are values: canonical, printed as they are read, and refused with the nearest valid word."""

import builtins
import errno
import pickle
import signal

import pytest

from faultkit.plan import Fault, PlanError
from faultkit.plan.action_catalogue import ACTIONS
from faultkit.plan.action_places import can_happen
from faultkit.plan.actions import Action, Argument, from_arguments, require_allowed
from faultkit.plan.grammar import read_action
from faultkit.plan.points import catalogue
from faultkit.sweep.selection import choose_actions

EXCEPTIONS = sorted(
    {
        value.__name__
        for name, value in vars(builtins).items()
        if isinstance(value, type) and issubclass(value, BaseException) and not name.startswith("_")
    }
)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("raise(ValueError)", "raise(ValueError)"),
        ('raise( ValueError , "disk gone" )', 'raise(ValueError, "disk gone")'),
        ("raise(OSError, ENOSPC)", "raise(OSError, ENOSPC)"),
        ("raise(OSError, 28)", "raise(OSError, ENOSPC)"),
        ('raise(IOError, ENOSPC, "full", leave)', 'raise(OSError, ENOSPC, "full", leave)'),
        ("raise(OSError, ESTALE, stay)", "raise(OSError, ESTALE)"),
        ("raise(FileNotFoundError, ENOENT)", "raise(FileNotFoundError, ENOENT)"),
        ("raise(KeyboardInterrupt, leave)", "raise(KeyboardInterrupt, leave)"),
        ("delay(0.20)", "delay(0.2)"),
        ("delay(2.0)", "delay(2)"),
        ("delay(1e-3)", "delay(0.001)"),
        ("delay(-0.0)", "delay(0)"),
        ("delay(5e-324)", "delay(5e-324)"),
        ("delay(.5)", "delay(0.5)"),
        ("delay(3600)", "delay(3600)"),
        ("hang", "hang"),
        ("hang()", "hang"),
        ("hang(python)", "hang"),
        ("hang(native)", "hang(native)"),
        ("exit", "exit(1)"),
        ("exit(0)", "exit(0)"),
        ("exit(007)", "exit(7)"),
        ("kill", "kill(SIGKILL)"),
        ("kill(15)", "kill(SIGTERM)"),
        ("kill(SIGIOT)", "kill(SIGABRT)"),
        ("stop", "stop"),
        ("stop(2.50)", "stop(2.5)"),
        ("segfault()", "segfault"),
        ("memory()", "memory"),
        ("memory(512)", "memory(512)"),
    ],
)
def test_an_action_prints_in_one_canonical_form_that_reads_back(written, canonical):
    action = read_action(written)
    assert str(action) == canonical
    assert read_action(canonical) == action
    assert repr(read_action(canonical)) == repr(action)
    assert hash(read_action(canonical)) == hash(action)
    assert eval(repr(action), {"Action": Action}) == action
    assert pickle.loads(pickle.dumps(action)) == action


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_every_builtin_exception_can_be_raised(name):
    assert str(read_action(f"raise({name})")) == f"raise({name})"


@pytest.mark.parametrize("name", sorted(errno.errorcode.values()))
def test_every_error_number_can_be_named(name):
    by_name, by_number = (
        read_action(f"raise(OSError, {name})"),
        read_action(f"raise(OSError, {getattr(errno, name)})"),
    )
    assert by_name == by_number
    assert getattr(errno, by_name["errno"]) == getattr(errno, name)


@pytest.mark.parametrize("name", [s.name for s in signal.Signals])
def test_every_signal_can_be_named(name):
    assert read_action(f"kill({name})")["signal"] == name


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("rase(ValueError)", r"action, column 1: unknown action 'rase'; actions are raise, .*'raise'\?"),
        ("raise", r"'raise' needs exception; it is raise\(exception\[, errno\]\[, \"message\"\]"),
        ("raise(ValueEror)", r"column 7: exception must be the name of a builtin .*'ValueError'\?"),
        ("raise(int)", r"exception must be the name of a builtin exception, or module:Name \(got 'int'\)"),
        ('raise("x")', r"exception must be .*got the string '\"x\"'"),
        ("raise(ValueError, ENOSPC)", r"column 19: errno needs OSError .*got ENOSPC with ValueError"),
        ("raise(OSError, ENOSP)", r"column 16: errno must be a name of the errno module.*'ENOSPC'\?"),
        ("raise(OSError, 99999)", r"errno must be a name of the errno module.*got 99999"),
        ("raise(OSError, 2.5)", r"errno must be a name of the errno module.*got 2.5"),
        ("raise(OSError, leav)", r"after must be stay or leave \(got 'leav'\); did you mean 'leave'\?"),
        ('raise(OSError, "x", ENOSPC)', r"column 21: after must be .*; it is raise\("),
        ('raise(OSError, "x", "y")', r"column 21: after must be stay or leave \(got the string '\"y\"'\)"),
        ("raise(OSError, leave, stay)", r"column 23: too many arguments of 'raise' \(got 'stay'\)"),
        ("raise(ValueError, disk gone)", r"column 24: expected ',' or '\)' .*double quotes.* saw 'gone'"),
        ('raise(ValueError, "gone)', r"column 19: .*saw a string that is not closed"),
        ('raise(ValueError, "a\nb")', r"a string must be written as in JSON .*Invalid control character"),
        ("raise(pkg:Error)", r"column 7: exception type 'pkg:Error' must be in the allow list"),
        ("raise(pkg:)", r"expected a name after the module"),
        ("raise(ValueError", r"saw the end of the text"),
        ("raise(ValueError))", r"expected the end of the action, saw '\)'"),
        ("delay", r"action 'delay' needs seconds; it is delay\(seconds\)"),
        ("delay(-1)", r"column 7: seconds must be a finite number from 0 to 3600 \(got -1\)"),
        ("delay(3600.1)", r"seconds must be a finite number from 0 to 3600"),
        ("delay(1e999)", r"seconds must be a finite number from 0 to 3600 \(got inf\)"),
        ("delay(nan)", r"seconds must be a finite number .*got the word 'nan'"),
        ('delay("1")', r"seconds must be a finite number .*got the string"),
        ("delay(1, 2)", r"column 10: too many arguments of 'delay' \(got '2'\)"),
        ("hang(nativ)", r"how must be python or native \(got 'nativ'\); did you mean 'native'\?"),
        ("exit(256)", r"code must be an integer from 0 to 255 \(got 256\)"),
        ("exit(1.5)", r"code must be an integer from 0 to 255 \(got 1.5\)"),
        ("exit(-1)", r"code must be an integer from 0 to 255 \(got -1\)"),
        ("exit(٣)", r"column 6: expected an argument .*saw '٣'"),
        ("kill(KILL)", r"signal must be the name of a signal .*did you mean 'SIGKILL'\?"),
        ("kill(0)", r"signal must be the name of a signal of this platform.*got 0"),
        ("kill(2.5)", r"signal must be the name of a signal of this platform.*got 2.5"),
        ("stop(-2)", r"resume_seconds must be a finite number from 0 to 3600"),
        ("segfault(1)", r"too many arguments of 'segfault' \(got '1'\); it is segfault"),
        ("memory(0)", r"megabytes must be an integer from 1 to"),
        ("hang(", r"expected an argument .*saw the end of the text"),
        ("", r"expected an action, such as raise\(ValueError\), saw the end of the text"),
    ],
)
def test_a_wrong_action_is_told_with_its_column_and_the_nearest_valid_word(written, message):
    with pytest.raises(PlanError, match=message):
        read_action(written)


def test_an_exception_type_of_a_module_is_read_only_where_it_is_allowed():
    text = "raise(some.package:Outer.Error, ENOSPC)"
    action = read_action(text, allow=("some.package:Outer.Error",))
    assert action["exception"] == "some.package:Outer.Error"
    assert str(action) == text
    with pytest.raises(
        PlanError, match=r"allowed are some.package:Errors\); did you mean 'some.package:Errors'\?"
    ):
        read_action("raise(some.package:Error)", allow=("some.package:Errors",))
    with pytest.raises(PlanError, match="nothing is allowed here"):
        require_allowed(action, ())


def test_an_action_built_by_hand_is_checked_and_canonical():
    assert Action("exit") == Action("exit", {"code": 1}) == Action("exit", [("code", 1)])
    assert Action("raise", {"message": "m", "exception": ValueError}).parameters == (
        ("exception", "ValueError"),
        ("message", "m"),
    )
    assert Action("raise", {"exception": PlanError})["exception"] == "faultkit.exceptions:PlanError"
    assert Action("delay", {"seconds": 1}) == Action("delay", {"seconds": 1.0})
    assert Action("hang", {"how": None}) == Action("hang")


@pytest.mark.parametrize(
    ("name", "parameters", "kind", "message"),
    [
        (3, (), TypeError, "name of an action must be text"),
        ("rase", (), PlanError, "did you mean 'raise'"),
        ("exit", 3, TypeError, "must be pairs or a mapping"),
        ("exit", "code", TypeError, "must be pairs or a mapping"),
        ("exit", {"cod": 1}, PlanError, "unknown parameter 'cod'; parameters of 'exit' are code; .*'code'"),
        ("exit", {3: 1}, PlanError, "unknown parameter 3"),
        ("exit", [("code", 1), ("code", 2)], PlanError, "once each"),
        ("segfault", {"code": 1}, PlanError, "'segfault' takes none"),
        ("exit", {"code": True}, TypeError, "got True"),
        ("exit", {"code": "1"}, TypeError, "got '1'"),
        ("exit", {"code": 1.0}, PlanError, "code must be an integer"),
        ("delay", {"seconds": float("nan")}, PlanError, "got nan"),
        ("delay", {"seconds": 10**5000}, PlanError, "got an int of 16610 bits"),
        ("raise", {}, PlanError, "needs exception"),
        ("raise", {"exception": 3}, TypeError, "got 3"),
        ("raise", {"exception": "a:b\n"}, PlanError, "module:Name"),
        ("raise", {"exception": "a:" + "b" * 1000}, PlanError, "module:Name"),
        ("raise", {"exception": "OSError", "errno": True}, TypeError, "got True"),
        ("raise", {"exception": "KeyError", "errno": 28}, PlanError, "errno needs OSError"),
        ("raise", {"exception": "OSError", "message": 3}, TypeError, "message must be text"),
        ("raise", {"exception": "OSError", "message": "x" * 10_001}, PlanError, "got 10001 characters"),
        ("kill", {"signal": 10**30}, PlanError, "signal must be"),
        ("kill", {"signal": signal.SIGTERM.value + 0.5}, TypeError, "signal must be"),
        ("hang", {"how": "c"}, PlanError, "how must be python or native"),
    ],
)
def test_a_wrong_action_built_by_hand_is_refused(name, parameters, kind, message):
    with pytest.raises(kind, match=message):
        Action(name, parameters)


def test_parameters_are_looked_up_by_name_with_their_defaults():
    action = read_action("raise(OSError)")
    assert action["after"] == "stay"
    assert action.get("errno") is None
    assert action.get("errno", "EIO") == "EIO"
    for unknown in ("errno", "nothing"):
        with pytest.raises(KeyError, match=unknown):
            action[unknown]
    assert read_action("hang").get("how") == "python"


def test_what_an_action_does_to_the_process_is_told():
    assert read_action("raise(SystemExit)").raises
    assert not read_action("memory").raises
    kills = ["exit", "segfault", "kill", "kill(SIGTERM)", "kill(SIGABRT)", "kill(SIGUSR1)"]
    lives = [
        "kill(SIGSTOP)",
        "kill(SIGINT)",
        "kill(SIGPIPE)",
        "kill(SIGCHLD)",
        "stop",
        "hang",
        "raise(OSError)",
    ]
    assert [text for text in kills + lives if read_action(text).kills] == kills


@pytest.mark.parametrize(
    ("text", "effect", "holds", "simulated", "native"),
    [
        ("raise(OSError, EIO)", "error", "", "", ""),
        ("memory", "error", "", "raise(MemoryError)", "refused"),
        ("delay(1)", "time", "", "", ""),
        ("hang", "freeze", "thread", "", ""),
        ("hang(native)", "freeze", "interpreter", "", ""),
        ("stop", "freeze", "process", "hang(native)", ""),
        ("stop(0.5)", "time", "process", "delay(0.5)", "refused"),
        ("exit", "death", "", "", ""),
        ("kill", "death", "", "", ""),
        ("kill(SIGINT)", "error", "", "raise(KeyboardInterrupt)", ""),
        ("kill(SIGSTOP)", "freeze", "process", "hang(native)", ""),
        ("kill(SIGTSTP)", "freeze", "", "hang(native)", ""),
        ("segfault", "death", "", "kill(SIGSEGV)", ""),
        ("torn", "death", "", "", ""),
        ("torn(EIO)", "error", "", "", ""),
        ("short", "harmless", "", "", ""),
        ("lie", "damage", "", "", ""),
        ("stale", "hidden", "", "", "refused"),
        ('stale("old")', "hidden", "", "", ""),
    ],
)
def test_what_an_action_does_follows_from_its_entry_and_its_arguments(text, effect, holds, simulated, native):
    action = read_action(text)
    assert (action.effect, action.holds) == (effect, holds)
    assert (action.on_simulated.nearest if action.on_simulated else "") == simulated
    assert bool(action.in_native) == bool(native)


def test_what_takes_the_place_of_a_call_tells_how():
    assert all(bool(spec.replaces) or not spec.points for spec in ACTIONS.values())
    assert {spec.family for spec in ACTIONS.values() if spec.replaces and not spec.points} == {"value"}


def test_the_catalogue_tells_usage_and_family_of_every_action():
    families = {"error", "time", "stop", "death", "file", "value", "request"}
    assert {spec.family for spec in ACTIONS.values()} == families
    assert [spec.usage for spec in ACTIONS.values()] == [
        'raise(exception[, errno][, "message"][, stay|leave])',
        "memory[(megabytes)]",
        "delay(seconds)",
        "hang[(python|native)]",
        "stop[(resume_seconds)]",
        "exit[(code)]",
        "kill[(signal)]",
        "terminate(grace_seconds)",
        "segfault",
        "limit(bytes)",
        "descriptors[(count)]",
        "full(bytes[, errno])",
        "short[(bytes)]",
        "torn[(bytes[, errno])]",
        "lie",
        "flip[(byte[, bit])]",
        "zero[(bytes[, start])]",
        "cut[(bytes)]",
        'stale[("path")]',
        "missing",
        "shorten[(count)]",
        "returns(None|False|True)",
        "earlier",
        "swap[(items|names|offsets|sizes)]",
        'status(code[, "error"])',
        "reset",
        "sever[(bytes)]",
    ]
    for name, spec in ACTIONS.items():
        assert spec.name == name
        assert spec.summary
        assert all(parameter.doc for parameter in spec.parameters)


def test_an_action_that_the_platform_lacks_is_refused_by_name(monkeypatch):
    monkeypatch.delattr(signal, "SIGSTOP")
    with pytest.raises(PlanError, match="action 'stop' needs SIGSTOP, which this platform does not have"):
        read_action("stop")
    assert str(read_action("kill")) == "kill(SIGKILL)"


def test_the_argument_at_fault_is_numbered():
    arguments = [Argument("word", "OSError", "OSError"), Argument("word", "ENOSP", "ENOSP")]
    with pytest.raises(PlanError) as caught:
        from_arguments("raise", arguments)
    assert caught.value.part == 1


@pytest.mark.parametrize("point", [one for one in catalogue() if one.layer != "clock"], ids=str)
def test_what_a_sweep_takes_for_possible_at_a_point_is_what_a_plan_can_say(point):
    for action in choose_actions(["*"]):
        for moment in point.moments:
            try:
                Fault(str(point), action, moment)
                can_be_said = True
            except PlanError:
                can_be_said = False
            assert can_happen(point, action, moment) == can_be_said, (action, moment)
