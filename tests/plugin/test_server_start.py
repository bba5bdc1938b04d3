"""The fork server starts early where tests will need it, and does not hold up a session that ends at once."""

from __future__ import annotations

import sys

import pytest

from faultkit.processes import client

pytestmark = pytest.mark.slow


def test_a_server_that_is_closed_while_it_imports_torch_ends_by_itself_and_was_never_ready():
    server = client.ForkServer()
    server.close()
    assert server._process.returncode == 0 and not server._is_ready


def test_closing_a_server_that_is_ready_lets_it_end_by_itself():
    server = client.ForkServer()
    server.ready()
    server.close()
    assert server._process.returncode == 0


SPEAKS = "import pytest\n\ndef test_it(): pass  # pytest.mark.spmd"


@pytest.fixture
def started(monkeypatch):
    """What became of the server meanwhile, in words."""
    told = []
    monkeypatch.setattr(client, "warm_up", lambda: told.append("server"))
    monkeypatch.setattr(client, "shut_down", lambda: told.append("shut down"))
    return told


@pytest.mark.parametrize(
    ("body", "arguments", "starts"),
    [
        ("def test_it(): pass", (), False),
        (SPEAKS, (), True),
        (SPEAKS, ("--collect-only",), False),
    ],
)
def test_it_starts_when_a_file_of_tests_speaks_of_it(pytester, started, body, arguments, starts):
    pytester.makepyfile(body)
    result = pytester.runpytest_inprocess("-p", "no:randomly", *arguments)
    assert result.ret == 0
    assert started == (["server", "shut down"] if starts else [])
    assert "faultkit" in sys.modules


def test_it_does_not_start_for_a_file_beside_the_one_that_is_asked_for(pytester, started):
    pytester.makepyfile(test_speaks=SPEAKS, test_silent="def test_it(): pass")
    assert pytester.runpytest_inprocess("-p", "no:randomly", "test_silent.py").ret == 0
    assert started == []


def test_it_does_not_start_where_xdist_hands_the_tests_to_its_workers(pytester, started):
    for arguments, is_started in ((("-n2",), False), ((), True)):
        module = pytester.getmodulecol(SPEAKS, configargs=arguments)
        module.ihook.pytest_collectstart(collector=module)
        assert bool(started) is is_started


def test_a_test_that_needs_the_server_begins_to_count_when_it_is_ready(pytester):
    pytester.makeconftest(
        """
        import pytest
        from faultkit.processes import client

        told = []
        ready = client.ForkServer.ready

        def telling(server):
            report = ready(server)
            told.append("ready")
            return report

        client.ForkServer.ready = telling

        @pytest.hookimpl(optionalhook=True)
        def pytest_timeout_set_timer(item, settings):
            told.append(item.name)  # and then pytest-timeout does
        """
    )
    pytester.makepyfile(
        """
        import pytest
        from conftest import told

        @pytest.mark.timeout(60)
        @pytest.mark.world(1)
        def test_it():
            assert told == ["ready", "test_it"]
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_a_test_that_needs_no_server_waits_for_none(pytester, monkeypatch):
    monkeypatch.setattr(client, "await_started", lambda: pytest.fail("it waits"))
    pytester.makepyfile("import pytest\n\n@pytest.mark.timeout(60)\ndef test_it(): pass")
    pytester.runpytest_inprocess("-p", "no:randomly").assert_outcomes(passed=1)
