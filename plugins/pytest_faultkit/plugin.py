"""Fault plans as pytest tests: markers `world`, `faults` and `spmd`, fixtures, options and a summary.

    @pytest.mark.world(2, 4)                                    # one test of each size
    @pytest.mark.faults("writer.write_data@1=raise(ValueError)", "writer.finish@0=kill")  # times each plan
    def test_a_failed_save_is_known_to_every_rank(world, checkpoint_dir):
        run = world.run(save, checkpoint_dir)                   # under the plan of the marker
        run.raise_for_violations()

    @pytest.mark.spmd                                           # the body itself runs on every rank
    @pytest.mark.world(4)
    def test_the_mean_is_the_same_everywhere():
        value = torch.tensor([float(torch.distributed.get_rank())])
        torch.distributed.all_reduce(value)
        assert value.item() == 6.0

Markers may stand on a function, a class or a module; of each the closest counts.  Without one, a world has
`DEFAULT_SIZE` ranks and the plan is empty.  An ``spmd`` test fails if any rank does not return, as any test does
that an exception leaves, and with a plan if a check is violated.  A body that the plan is meant to end says so with
``faults(..., raises=CheckpointException)``: every rank that the plan does not end must then raise that.  A test that
calls ``world.run`` decides by its own asserts; a planned fault that did not fire fails it all the same, also where
no run had the plan, unless the test asked that run for its verdict or ``may_not_fire`` is set, and so does a run
that went wrong on a rank and at which nobody looked (`pytest_faultkit.endings`).

They go on methods of a ``unittest.TestCase``, too, with one size and one plan each: with ``spmd`` unittest runs the
case on every rank (`pytest_faultkit.unittest_body`).

A ``@given`` test that has a marker or takes a fixture of ours gets settings that fit worlds, and what fails in it
is seen again on new ranks before it counts (`pytest_faultkit.properties`).  Below a failure stand the plan, the
story and three ways to run it again (`pytest_faultkit.failures`).

Loading this module imports nothing but pytest: the rest comes with the first test that uses it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from pytest_faultkit.fixtures import (  # noqa: F401  pytest finds them here
    checkpoint_dir,
    crash_states,
    faulty_reader,
    faulty_writer,
    plan,
    world,
)
from pytest_faultkit.names import KIND_NAMES, is_marked, is_used_by

MARKERS = (
    (
        "world(size, *sizes, kind='warm', timeout=30.0, seed=0, backend='gloo', group_timeout=None, "
        "launcher='none', checks=None, no_check=None, allow_residue=None, allow_unread=None, allow_cast=None): "
        "how many ranks the test has, and which checks count; one test for each size (faultkit)"
    ),
    (
        "faults(plan, *plans, raises=(), may_not_fire=False, allow=(), checks=None, no_check=None, "
        "allow_residue=None, allow_unread=None, allow_cast=None): what breaks, the exception that is meant to end "
        "the body then, and which checks count; one test for each plan (faultkit)"
    ),
    "spmd: the body of the test runs on every rank of its world (faultkit)",
    (
        "crash(scenario, *scenarios, models=..., budget_seconds=60.0, bound=None, ...): what the fixture "
        "crash_states explores; one test for each scenario (faultkit)"
    ),
)
COUNTED = ("faultkit_verdict", "faultkit_histories", "faultkit_crash_states")
PROFILE_NAMES = ("dev", "ci", "nightly")  # of faultkit.strategies.profiles


# -- setting up ----------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faultkit", "faults in distributed checkpoints")
    group.addoption(
        "--faultkit-kind",
        metavar="KIND",
        choices=KIND_NAMES,
        help=f"the kind of all worlds, whatever the markers say: {', '.join(KIND_NAMES)}",
    )
    group.addoption(
        "--faultkit-timeout",
        metavar="SECONDS",
        type=float,
        help="the time limit of each run, whatever the markers say",
    )
    group.addoption(
        "--faultkit-report",
        metavar="PATH",
        help="write every run to PATH: as JSON if it ends in .json, else as a page of HTML",
    )
    group.addoption(
        "--faultkit-replay",
        metavar="PLAN_OR_FILE",
        help="run the selected tests that have a faultkit marker under this plan instead of their own",
    )
    group.addoption(
        "--faultkit-known",
        metavar="FILE",
        action="append",
        help="violations that are accepted: a test that nothing else ends is expected to fail; builtin for known "
        "defects of the engine. Repeatable.",
    )
    group.addoption(
        "--faultkit-write-known",
        metavar="FILE",
        help="add an entry to FILE for each violation that ended a test and is not known yet",
    )
    parser.addini(
        "faultkit_world_size",
        "how many ranks the worlds of this suite have: `pytest -n auto` then starts no more workers than fit",
    )


@pytest.hookimpl(tryfirst=True)  # before Hypothesis loads the profile that its option names
def pytest_configure(config: pytest.Config) -> None:
    profile = config.getoption("hypothesis_profile", None)
    if profile in PROFILE_NAMES:
        _register_profiles(profile)
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    checked = ("timeout", "report", "replay", "known", "write_known")
    if any(config.getoption(f"faultkit_{name}") is not None for name in checked):
        from pytest_faultkit import options

        options.validate(config)
    if config.getoption("faultkit_report") is not None and not hasattr(config, "workerinput"):
        from pytest_faultkit import report_file

        config.pluginmanager.register(report_file.ReportFile(config), "faultkit-report")
    if os.environ.get("GITHUB_ACTIONS") == "true" and not hasattr(config, "workerinput"):
        from pytest_faultkit import github

        config.pluginmanager.register(github.Annotations(config), "faultkit-github")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    from pytest_faultkit import workers

    return workers.count(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    for closing in reversed(config.__dict__.pop("_faultkit_closing", ())):
        closing()


# -- collecting ----------------------------------------------------------------------------------


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if is_marked(metafunc.definition):
        from pytest_faultkit import crashes, markers

        markers.parametrize(metafunc)
        crashes.parametrize(metafunc)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Start the fork server when a file of tests speaks of us: it imports torch while that file does.

    Not when its module is made, as it is for every file beside the one that is asked for.
    """
    if not isinstance(collector, pytest.Module):
        return
    config = collector.config
    done = config.__dict__
    if config.option.collectonly or (done.get("_faultkit_started") and done.get("_faultkit_profiles")):
        return
    with contextlib.suppress(OSError):
        text = collector.path.read_bytes()
        if any(word in text for word in (b"faultkit", b"mark.spmd", b"mark.world", b"mark.faults")):
            if not done.get("_faultkit_started"):
                done["_faultkit_started"] = True
                _start_server(config)
            if b"hypothesis" in text and not done.get("_faultkit_profiles"):
                done["_faultkit_profiles"] = True
                _register_profiles(None)


def _register_profiles(chosen: str | None) -> None:
    """Make Hypothesis know our profiles; it is about to be imported all the same."""
    with contextlib.suppress(ImportError):
        from faultkit.strategies import profiles

        profiles.register_defaults(chosen)


def _torch_refusal() -> str | None:
    """Why no rank can be started with the installed torch, where none can."""
    from faultkit.exceptions import TorchVersionError
    from faultkit.torch_versions import require_torch

    try:
        require_torch()
    except TorchVersionError as error:
        return str(error)
    return None


def _start_server(config: pytest.Config) -> None:
    if _torch_refusal():
        return  # which is told once all is collected
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return  # xdist's controller runs no test
    from faultkit.processes import client

    client.warm_up()
    config.__dict__.setdefault("_faultkit_closing", []).append(client.shut_down)


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.option.collectonly and any(map(is_used_by, session.items)):
        if refusal := _torch_refusal():
            raise pytest.UsageError(refusal)
        _start_server(session.config)  # it imports torch while the first tests are set up


# -- running -------------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    if "faultkit.worlds.world" in sys.modules or is_used_by(item):
        from pytest_faultkit import timeouts

        timeouts.armed(item, settings)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_cancel_timer(item: Any) -> None:
    timeouts = sys.modules.get("pytest_faultkit.timeouts")
    if timeouts is not None:
        timeouts.cancelled(item)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if is_used_by(item):
        from pytest_faultkit import cases

        cases.begin(item)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    if pyfuncitem.get_closest_marker("spmd") is None:
        return None
    from pytest_faultkit import spmd

    spmd.call(pyfuncitem)
    return True


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before Hypothesis looks at the settings of the test
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    with _tallied(item):
        if is_used_by(item):
            yield from _called(item)
        else:
            try:
                yield
            except BaseException as error:
                if reason := _known(item, error):
                    raise pytest.xfail.Exception(reason) from None
                raise


def _called(item: pytest.Item) -> Generator[None, None, None]:
    from pytest_faultkit import cases, failures

    case = cases.of(item)
    if case.settings.spmd and case.is_of_unittest:
        from pytest_faultkit import spmd

        item.runtest = lambda: spmd.call(item)  # type: ignore[method-assign, arg-type]
    try:
        with case.observing():
            yield
        if reported := getattr(item, "_excinfo", None):  # unittest has caught it
            if reason := _known(item, reported[0].value):
                reported.clear()
                raise pytest.xfail.Exception(reason) from None
            failures.add_sections(case, reported[0].value)
        else:
            case.require_that_it_proves_something()
    except KeyboardInterrupt:
        item.config.__dict__["_faultkit_interrupted"] = item
        raise
    except BaseException as error:
        if reason := _known(item, error):
            raise pytest.xfail.Exception(reason) from None
        failures.add_sections(case, error)
        raise
    finally:
        item.user_properties += case.run_log.properties()


def _known(item: pytest.Item, error: BaseException) -> str:
    """Why the test was expected to fail, where all that ended it is known."""
    if not item.config.getoption("faultkit_known") and item.config.getoption("faultkit_write_known") is None:
        return ""
    from pytest_faultkit import known

    return known.accepted(item, error)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    yield
    if is_used_by(item):
        from pytest_faultkit import cases

        cases.require_of_fixtures(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    if call.excinfo is not None and "faultkit" in sys.modules:
        from pytest_faultkit import own_frames

        own_frames.hide(call.excinfo.value)
    report = yield
    if call.when == "call" and "faultkit_found" in item.__dict__:
        from pytest_faultkit import known

        known.noted(item, report)
    if report.failed and call.excinfo is not None and _is_of_the_harness(call.excinfo.value):
        report.__dict__["faultkit_harness_failed"] = True  # travels with it, also from an xdist worker
    if call.when == "call" and is_used_by(item):
        from pytest_faultkit import cases

        case = cases.of(item)
        if item.config.getoption("faultkit_report"):
            report.__dict__["faultkit_runs"] = case.run_log.rows  # travels with it, also from an xdist worker
        if report.failed:
            add_section = getattr(report.longrepr, "addsection", lambda *told: report.sections.append(told))
            for text in case.sections:
                add_section("faultkit", text)
    return report


@contextlib.contextmanager
def _tallied(item: pytest.Item) -> Iterator[None]:
    """Meanwhile, count the histories and crash states that are judged, of any test; as properties of the test."""
    witness = sys.modules.get("faultkit.worlds.observers")
    if witness is None:
        yield
        return
    tally: dict[tuple[str, str], int] = {}

    def hear(what: str, verdict: str, number: int) -> None:
        key = (f"faultkit_{what.replace(' ', '_')}", str(verdict))
        tally[key] = tally.get(key, 0) + number

    try:
        with witness.counted(hear):
            yield
    finally:
        item.user_properties += [(name, f"{verdict} {number}") for (name, verdict), number in tally.items()]


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """A failure of faultkit is no failed test: it says nothing of the code under test."""
    if getattr(report, "faultkit_harness_failed", False):
        return "error", "E", "ERROR (the harness failed)"
    return None


def _is_of_the_harness(error: BaseException) -> bool:
    exceptions = sys.modules.get("faultkit.exceptions")
    return exceptions is not None and isinstance(error, exceptions.HarnessError)


# -- telling -------------------------------------------------------------------------------------


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = [
        report
        for found in terminalreporter.stats.values()
        for report in found
        if getattr(report, "when", None) == "call"
    ]
    if any(name in COUNTED for report in reports for name, _ in report.user_properties):
        from pytest_faultkit import run_log

        terminalreporter.write_line(run_log.summary(reports))
    if config.getoption("faultkit_known") or config.getoption("faultkit_write_known") is not None:
        from pytest_faultkit import known

        for line in filter(None, (*known.summary(config, reports), known.written(config, reports))):
            terminalreporter.write_line(line)
    _tell_of_interrupted(terminalreporter, config.__dict__.pop("_faultkit_interrupted", None))


def _tell_of_interrupted(terminalreporter: pytest.TerminalReporter, item: pytest.Item | None) -> None:
    """Show where the ranks stood when Ctrl-C came: pytest shows nothing that it captured from such a test."""
    for _, stream, text in getattr(item, "_report_sections", ()):
        _, mark, told = text.partition("\nfaultkit: ")
        if stream == "stderr" and mark:
            terminalreporter.write_line(f"faultkit: {told.rstrip()}")
