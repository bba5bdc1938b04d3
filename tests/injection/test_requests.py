"""Faults of requests by the proxy of a rank, before a plain server on loopback that stores what is put."""

from __future__ import annotations

import _thread
import contextlib
import http.client
import http.server
import threading

import pytest

from faultkit.checkpointers.servers import S3Address
from faultkit.exceptions import PlanError, ScenarioError
from faultkit.injection.arming import arm
from faultkit.injection.requests import ANSWERING, point_of
from faultkit.plan import FaultPlan
from faultkit.plan.action_catalogue import ACTIONS
from faultkit.sweep import sweep

SECONDS_MAX = 30.0


class Store(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self):
        self.server.held[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)

    def do_GET(self):
        held = self.server.held.get(self.path)
        self.answer(404 if held is None else 200, held or b"")

    do_HEAD = do_GET

    def do_DELETE(self):
        self.answer(404 if self.server.held.pop(self.path, None) is None else 204)

    def log_message(self, *args):
        pass


@pytest.fixture
def store():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        server.held = {}
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        server.option = f"http://any-key@127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        serving.join()


@contextlib.contextmanager
def asking(store, plan, rank=0):
    """Gives a function that asks as a client of that rank does, and what fired."""
    events = []
    struck = threading.Event()

    def record(kind, data):
        if kind == "fired":
            events.append((data["point"], data["call"]))
            struck.set()

    with arm(FaultPlan.parse(plan), rank=rank, world_size=2, record=record):
        address = S3Address(store.option).endpoint.partition("://")[2]
        client = http.client.HTTPConnection(address, timeout=SECONDS_MAX)

        def ask(method, key, body=None, **how):
            client.request(method, f"/checkpoints/{key}", body, **how)
            answer = client.getresponse()
            return answer.status, answer.read()

        with contextlib.closing(client):
            ask.struck = struck
            yield ask, events


def test_a_put_is_answered_with_an_error_and_not_done_or_done_all_the_same(store):
    with asking(store, 'http.put("a*")#2=status(503); http.put("b"):after=status(404, "Gone")') as (
        ask,
        fired,
    ):
        assert ask("PUT", "s/a1", b"1") == (200, b"")
        status, told = ask("PUT", "s/a2", b"2")
        assert (status, b"<Code>SlowDown</Code>" in told) == (503, True)
        assert ask("PUT", "s/other", b"3")[0] == 200
        status, told = ask("PUT", "b", b"4")
        assert (status, b"<Code>Gone</Code>" in told) == (404, True)
    assert store.held == {"/checkpoints/s/a1": b"1", "/checkpoints/s/other": b"3", "/checkpoints/b": b"4"}
    assert fired == [("http.put", 2), ("http.put", 1)]


def test_what_no_fault_means_is_as_the_server_says_it(store):
    with asking(store, "http.list=reset; http.put#9=reset; http.delete@1=reset") as (ask, fired):
        assert ask("PUT", "a", iter([b"in ", b"chunks"]), encode_chunked=True) == (200, b"")
        assert ask("GET", "a") == (200, b"in chunks")
        assert ask("HEAD", "a") == (200, b"")
        assert ask("DELETE", "a") == (204, b"")
        assert ask("GET", "a") == (404, b"")
    assert fired == [] and store.held == {}


@pytest.mark.parametrize(("moment", "held"), [("", {}), (":after", {"/checkpoints/a": b"1"})])
def test_a_connection_is_reset_before_or_after_the_server_has_done_the_request(store, moment, held):
    with asking(store, f"http.put{moment}=reset") as (ask, fired), pytest.raises(ConnectionError):
        ask("PUT", "a", b"1")
    assert fired == [("http.put", 1)] and store.held == held


def test_an_answer_is_severed_and_nobody_takes_it_for_whole(store):
    store.held["/checkpoints/a"] = b"0123456789"
    with (
        asking(store, "http.get:after=sever(3)") as (ask, _),
        pytest.raises(http.client.IncompleteRead) as caught,
    ):
        ask("GET", "a")
    assert caught.value.partial == b"012"


def test_a_request_that_was_refused_has_not_come_back_well(store):
    with asking(store, "http.get:after=status(500)") as (ask, fired):
        assert ask("GET", "nothing")[0] == 404
    assert fired == []


def test_once_the_run_is_over_who_waits_is_let_go_and_no_thread_is_left(store):
    before, ended = _thread._count(), []
    with asking(store, "http.get=hang") as (ask, fired):

        def wait():
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                ask("GET", "a")
            ended.append(True)

        ask("PUT", "a", b"1")
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert ask.struck.wait(SECONDS_MAX)
    waiting.join(SECONDS_MAX)
    assert ended == [True] and fired == [("http.get", 1)]
    assert _thread._count() - before <= 1  # the store's own of the connection, which it may be closing
    assert S3Address(store.option).endpoint == store.option.replace("any-key@", "")


@pytest.mark.parametrize(
    ("method", "target", "point", "keys"),
    [
        ("PUT", "/b/s/a%20b", "http.put", ("/s/a b",)),
        ("PUT", "/b/a?partNumber=1&uploadId=x", "http.part", ("/a",)),
        ("POST", "/b/a?uploads=", "http.post", ("/a",)),
        ("DELETE", "/b/a?uploadId=x", "http.delete", ("/a",)),
        ("GET", "/b/?list-type=2&prefix=s%2Fa", "http.list", ("/s/a",)),
        ("POST", "/b?delete", "http.delete", ("/x&y", "/z")),
        ("OPTIONS", "/b/a", "", ()),
    ],
)
def test_a_request_is_a_call_of_one_point_and_names_keys(method, target, point, keys):
    body = b"<Delete><Object><Key>x&amp;y</Key></Object><Object><Key>z</Key></Object></Delete>"
    assert point_of(method, target, http.client.HTTPMessage(), body) == (point, keys)


def test_a_copy_names_both():
    headers = http.client.HTTPMessage()
    headers["x-amz-copy-source"] = "/b/s/.metadata.tmp"
    assert point_of("PUT", "/b/s/.metadata", headers, b"") == (
        "http.put",
        ("/s/.metadata", "/s/.metadata.tmp"),
    )


def test_each_action_of_requests_has_an_entry_that_does_it():
    assert set(ANSWERING) == {name for name, spec in ACTIONS.items() if spec.layers}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "http.put=raise(ValueError)",
            "'raise' cannot happen at 'http.put', which is a request; actions .* status",
        ),
        ("http.put=lie", "'lie' cannot happen at 'http.put'"),
        ("fs.write=status(503)", "'status' cannot happen at 'fs.write'; it can at points of layer 'http'"),
        ("http.get=sever", "its only moment is 'after' .got 'before'."),
        ("http.put(child)=reset", "takes no thread and no role"),
        ('http.put("*", main)=reset', "takes no thread and no role"),
        ("http.put=status(200)", "code must be .* from 400 to 599"),
        ("http.puts=reset", "points of layer 'http' are put, .*did you mean 'http.put'"),
    ],
)
def test_what_makes_no_sense_at_a_request_is_refused(text, words):
    with pytest.raises(PlanError, match=words):
        FaultPlan.parse(text)


def test_work_without_a_server_is_refused():
    plan = FaultPlan.parse("http.put=status(503)")
    for how in ({"plans": [plan]}, {"points": ["http.*"]}):
        with pytest.raises(
            ScenarioError, match=r"'dcp-save' has no server whose requests 'http.put' could be"
        ):
            sweep("dcp-save", world=2, **how)


def test_simulated_ranks_are_refused():
    from faultkit.worlds.simulated.plans import can_carry, require_carried

    plan = FaultPlan.parse("http.put=kill(SIGKILL)")
    assert not can_carry(plan)
    with pytest.raises(PlanError, match=r"cannot happen to a simulated rank: its requests are not seen"):
        require_carried(plan)
