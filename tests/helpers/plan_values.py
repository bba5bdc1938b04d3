"""Plans of every shape as Hypothesis strategies, ways to damage their text, and what must then hold."""

import builtins
import errno
import signal

from hypothesis import strategies as st

from faultkit.plan import Fault, FaultPlan, PlanError
from faultkit.plan.actions import Action
from faultkit.plan.points import catalogue

LINE_LENGTH_MAX = 700
ALLOW = ("some.package:Error", "other:Outer.Error")
ROLES = ("coordinator", "others", "first", "last")

characters = st.characters(exclude_categories=())  # lone surrogates are characters, too
exceptions = st.sampled_from(
    sorted(n for n, v in vars(builtins).items() if isinstance(v, type) and issubclass(v, BaseException))
)
messages = st.none() | st.text(characters, max_size=12)
error_numbers = st.none() | st.sampled_from(sorted(errno.errorcode))


def _raising(exception, number, message, after):
    return Action("raise", {"exception": exception, "errno": number, "message": message, "after": after})


actions = st.one_of(
    st.builds(
        _raising, exceptions | st.sampled_from(ALLOW), st.none(), messages, st.sampled_from(["stay", "leave"])
    ),
    st.builds(
        _raising, st.sampled_from(["OSError", "TimeoutError", *ALLOW]), error_numbers, messages, st.none()
    ),
    st.builds(lambda s: Action("delay", {"seconds": s}), st.floats(0, 3600) | st.integers(0, 3600)),
    st.builds(lambda s: Action("stop", {"resume_seconds": s}), st.none() | st.floats(0, 3600)),
    st.builds(lambda w: Action("hang", {"how": w}), st.sampled_from(["python", "native"])),
    st.builds(lambda c: Action("exit", {"code": c}), st.integers(0, 255)),
    st.builds(lambda s: Action("kill", {"signal": s}), st.sampled_from([s.name for s in signal.Signals])),
    st.builds(lambda m: Action("memory", {"megabytes": m}), st.none() | st.integers(1, 1 << 20)),
    st.just(Action("segfault")),
)
spans = st.builds(lambda low, length: (low, low + length), st.integers(0, 40), st.integers(0, 5))
wide_spans = st.builds(lambda a, b: (min(a, b), max(a, b)), *[st.integers(0, 1_000_000)] * 2)


def spans_text(several):
    return ",".join(f"{low}-{high}" for low, high in several)


ranks = st.one_of(
    st.sampled_from(["*", *ROLES]),
    st.lists(spans | wide_spans, min_size=1, max_size=5).map(spans_text),
    st.sets(st.integers(0, 50), min_size=1),
    st.integers(0, 1_000_000),
)
calls = st.one_of(
    st.just("*"),
    st.integers(1, 1_000_000_000),
    st.integers(1, 99).map("{}-".format),
    spans.map(lambda s: f"{s[0] + 1}-{s[1] + 1}"),
)
places = st.sampled_from([point for point in catalogue() if point.layer not in ("clock", "http")]).flatmap(
    lambda point: st.tuples(st.just(str(point)), st.sampled_from(point.moments))
)
times = st.builds(
    lambda action, rank, milliseconds: Fault("clock.millisecond", action, ranks=rank, calls=milliseconds),
    st.sampled_from(["kill", "kill(SIGTERM)", "exit(3)", "stop(0.5)", "segfault", "hang(native)"]),
    ranks,
    st.integers(1, 10_000),
)
globs = st.sampled_from(["*", "*.distcp", ".metadata", "/a/*/b", 'q"uo\\te']) | st.text(
    st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1, max_size=8
).filter(lambda text: text not in (".", ".."))
threads = st.sampled_from(["*", "main", "helper"])
numbers = st.none() | st.integers(0, 1 << 40)
file_actions = st.one_of(
    st.tuples(
        st.sampled_from(["fs.write"]),
        st.builds(lambda b, e: Action("torn", {"bytes": b, "errno": e}), numbers, error_numbers)
        | st.builds(
            lambda b, e: Action("full", {"bytes": b, "errno": e}), st.integers(0, 1 << 40), error_numbers
        ),
    ),
    st.tuples(
        st.sampled_from(["fs.write", "fs.read", "fs.open", "fs.create_stream"]),
        st.builds(
            lambda b, n: Action("flip", {"byte": b, "bit": 0 if b is None else n}), numbers, st.integers(0, 7)
        )
        | st.builds(lambda b, s: Action("zero", {"bytes": b, "start": s}), numbers, numbers),
    ),
    st.tuples(
        st.sampled_from(["fs.open", "fs.create_stream"]),
        st.builds(lambda p: Action("stale", {"path": p}), messages)
        | st.builds(lambda b: Action("cut", {"bytes": b}), numbers)
        | st.just(Action("missing")),
    ),
    st.tuples(st.sampled_from(["fs.rename", "fs.fsync", "fs.write", "fs.rm_file"]), st.just(Action("lie"))),
    st.tuples(
        st.sampled_from(["fs.read", "fs.write"]), st.builds(lambda b: Action("short", {"bytes": b}), numbers)
    ),
)
of_files = st.builds(
    lambda chosen, r, c, p, t: Fault(chosen[0], chosen[1], "before", r, c, p, t),
    file_actions | st.tuples(st.sampled_from(["fs.write", "fs.exists", "fs.seek"]), actions),
    ranks,
    calls,
    globs,
    threads,
)
of_requests = st.builds(
    lambda name, chosen, r, c, p: Fault(f"http.{name}", chosen[1], chosen[0], r, c, p),
    st.sampled_from([point.name for point in catalogue() if point.layer == "http"]),
    st.tuples(
        st.sampled_from(["before", "after"]),
        st.builds(lambda c, m: Action("status", {"code": c, "error": m}), st.integers(400, 599), messages)
        | st.just(Action("reset")),
    )
    | st.tuples(st.just("after"), st.builds(lambda b: Action("sever", {"bytes": b}), numbers)),
    ranks,
    calls,
    globs,
)
faults = (
    times
    | of_files
    | of_requests
    | st.builds(lambda place, a, r, c: Fault(place[0], a, place[1], r, c), places, actions, ranks, calls)
)
plans = st.builds(FaultPlan, st.lists(faults, max_size=4))


def assert_short_line(error):
    line = str(error)
    assert line.isprintable()
    assert len(line) <= LINE_LENGTH_MAX


def assert_reads_or_says_why(read, text):
    """`read` gives a plan that survives printing, or one short line; it never fails in another way."""
    try:
        plan = read(text)
    except PlanError as error:
        assert_short_line(error)
    else:
        assert FaultPlan.parse(str(plan), ALLOW) == plan


PIECES = [
    "writer.write_data",
    ":",
    "future",
    "@",
    "#",
    "=",
    ";",
    ",",
    "-",
    "*",
    "(",
    ")",
    '"',
    "\\",
    "raise",
    "0",
    "9" * 30,
    "٣",
    "\0",
    "\ud800",
    "others",
    "OSError",
    "ENOSPC",
    "1e9",
    ".",
    " ",
    "{",
    "}",
    "[",
    "]",
    "null",
    "fs.write",
    "helper",
    '"*.distcp"',
]
edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 5),
        st.sampled_from(PIECES) | st.text(characters, max_size=3),
    ),
    min_size=1,
    max_size=4,
)


def edited(text, several):
    for where, length, piece in several:
        start = int(where * (len(text) + 1))
        text = text[:start] + piece + text[start + length :]
    return text
