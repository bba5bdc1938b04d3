"""The fork server starts early where tests will need it, and does not hold up a session that ends at once."""

from __future__ import annotations

import sys

import pytest

from faultkit.processes import client


def test_a_server_that_is_closed_while_it_imports_torch_ends_by_itself_and_was_never_ready():
    server = client.ForkServer()
    server.close()
    assert server._process.returncode == 0 and server._report is None


def test_closing_a_server_that_is_ready_lets_it_end_by_itself():
    server = client.ForkServer()
    server.ready()
    server.close()
    assert server._process.returncode == 0


@pytest.mark.parametrize(
    ("body", "arguments", "starts"),
    [
        ("def test_it(): pass", (), False),
        ("import pytest\n\ndef test_it(): pass  # pytest.mark.spmd", (), True),
        ("def test_it(): pass  # faultkit", ("--collect-only",), False),
        ("def test_it(): pass  # faultkit", ("-n2",), False),
    ],
)
def test_it_starts_when_a_file_of_tests_speaks_of_it(pytester, monkeypatch, body, arguments, starts):
    started = []
    monkeypatch.setattr(client, "warm_up", lambda: started.append("server"))
    monkeypatch.setattr(client, "shut_down", lambda: started.append("shut down"))
    # what the controller of xdist does, without its workers
    dist = ("--dist=no",) if "-n2" in arguments else ()
    pytester.makepyfile(body)
    result = pytester.runpytest_inprocess("-p", "no:randomly", *arguments, *dist)
    assert result.ret == 0
    assert started == (["server", "shut down"] if starts else [])
    assert "faultkit" in sys.modules


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
