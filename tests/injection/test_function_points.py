"""Points that are functions: torch.save and its like, and functions and methods by name, on every kind of rank."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import textwrap

import pytest
import torch
import torch.distributed as dist

from faultkit import FaultPlan, World
from faultkit.injection import arm, functions
from faultkit.plan import Fault, PlanError
from faultkit.strategies.sites import sites_of
from faultkit.sweep.selection import choose_places
from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

HERE = __name__


def put(key, value):
    return f"{key}={value}"


class Plugin:
    kind = "plain"

    def write(self, key):
        return f"{type(self).__name__} wrote {key}"

    @classmethod
    def of(cls, key):
        return f"{cls.__name__} of {key}"

    @staticmethod
    def name(key):
        return f"name of {key}"

    async def send(self, key):
        await asyncio.sleep(0)
        return f"sent {key}"


class Special(Plugin):
    pass


held = {"by a container": put}
alias = put


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("put", lambda: put(1, 2)),
        ("put", lambda: alias(1, 2)),
        ("Plugin.write", lambda: Plugin().write(1)),
        ("Plugin.write", lambda: Special().write(1)),
        ("Special.write", lambda: Special().write(1)),
        ("Plugin.of", lambda: Special.of(1)),
        ("Plugin.name", lambda: Plugin.name(1)),
        ("Plugin.send", lambda: asyncio.run(Plugin().send(1))),
    ],
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_function_fails_by_its_name_and_is_itself_again(name, call, moment):
    before = call(), dict(vars(Plugin)), dict(vars(Special)), put, alias
    plan = f"call.{HERE}:{name}:{moment}#2=raise(OSError, EIO)"
    with arm(plan, rank=0, world_size=1, record=None) as session:
        assert call() == before[0]
        with pytest.raises(OSError, match="Input/output"):
            call()
        assert call() == before[0]
    assert [fired["call"] for fired in session.fired] == [2]
    assert (call(), dict(vars(Plugin)), dict(vars(Special)), put, alias) == before


def test_another_class_is_not_meant():
    with arm(f"call.{HERE}:Special.write=raise(ValueError)", rank=0, world_size=1, record=None) as session:
        assert Plugin().write(1) == "Plugin wrote 1"
    assert session.fired == []


def test_two_names_of_one_function_are_two_points():
    plan = f"call.{HERE}:put=delay(0); call.{HERE}:alias=delay(0)"
    with arm(plan, rank=0, world_size=1, record=None) as session:
        put(1, 2)
    assert [fired["point"] for fired in session.fired] == [f"call.{HERE}:put", f"call.{HERE}:alias"]


def test_a_module_is_hooked_when_the_run_imports_it(tmp_path, monkeypatch):
    (tmp_path / "imported_late.py").write_text("def work():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    events = []
    with arm(
        "call.imported_late:work=raise(ValueError)",
        rank=0,
        world_size=1,
        record=lambda kind, data: events.append((kind, data.get("point"))),
    ):
        assert "imported_late" not in sys.modules
        import imported_late

        with pytest.raises(ValueError):
            imported_late.work()
    assert imported_late.work() == 1
    assert events[0] == ("hooked", "call.imported_late:work")
    del sys.modules["imported_late"]
    assert not any(isinstance(finder, functions._Arrivals) for finder in sys.meta_path)


@pytest.mark.parametrize(
    "text", [f"call.{HERE}:Plugin.write@1#2=raise(OSError, EIO)", "call.a.b:c:after=kill(SIGKILL)"]
)
def test_such_a_plan_is_a_value_like_any_other(text):
    plan = FaultPlan.parse(text)
    assert str(plan) == text
    assert FaultPlan.from_json(plan.to_json()) == plan
    (fault,) = plan
    assert (fault.layer, Fault.parse(str(fault))) == ("call", fault)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("call.mypkg=hang", "call.module:function"),
        ("call.mypkg:=hang", "a function of the module"),
        ("call.a:b:futur=hang", "did you mean 'future'"),
        ("call.a:b=lie", "cannot happen at 'call.a:b'"),
        ('call.a:b("x")=hang', "takes no path"),
    ],
)
def test_a_point_of_the_layer_that_is_none_is_told_in_one_line(text, says):
    with pytest.raises(PlanError, match=says.replace("(", r"\(")) as refused:
        FaultPlan.parse(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("point", "says"),
    [
        ("call.no_such_package.deep:write", "there is no module 'no_such_package'"),
        (
            "call.faultkit.plan.polnts:find",
            "there is no module 'faultkit.plan.polnts'; did you mean 'faultkit.plan.points'",
        ),
        (
            "call.faultkit.plan.points.deep:find",
            "module 'faultkit.plan.points' is no package, and has no 'deep'",
        ),
        (f"call.{HERE}:Plugin.wrote", f"'{HERE}.Plugin' has no 'wrote'; did you mean 'write'"),
        (f"call.{HERE}:Plugin.kind", "must be a function or a method"),
        (f"call.{HERE}:Plugin", "must be a function or a method"),
    ],
)
def test_what_is_not_there_is_an_error_before_anything_starts(point, says):
    with World(1) as world, pytest.raises(PlanError) as refused:
        world.run(int, plan=f"{point}=hang")
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert world.pids() == {}


def test_looking_for_a_module_runs_nothing_of_it(tmp_path, monkeypatch):
    package = tmp_path / "never_run"
    package.mkdir()
    for name in ("__init__.py", "inner.py"):
        (package / name).write_text("raise SystemExit('it was run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with World(1) as world:
        run = world.run(int, plan="call.never_run.inner:write=hang")
        assert "no rank imported the module of call.never_run.inner:write" in run.violations[0].evidence
    assert "never_run" not in sys.modules


def test_sweeps_and_strategies_take_a_function_by_its_name():
    point = f"call.{HERE}:Plugin.write"
    assert choose_places([point, f"{point}:after", "torch.*"]) == (
        ("torch.save", "before"),
        ("torch.load", "before"),
        (point, "before"),
        (point, "after"),
    )
    assert [(site.point, site.moment) for site in sites_of([point, "torch.save"], ("before",), "save")] == [
        ("torch.save", "before"),
        (point, "before"),
    ]


def save_and_load(directory):
    from safetensors.torch import load_file, save_file

    path = os.path.join(directory, f"rank{dist.get_rank()}")
    torch.save(torch.ones(3), f"{path}.pt")
    save_file({"weight": torch.ones(3)}, f"{path}.safetensors")
    return float(torch.load(f"{path}.pt").sum() + load_file(f"{path}.safetensors")["weight"].sum())


@pytest.fixture(scope="module", params=["warm", "simulated"])
def two_ranks(request):
    with World(2, kind=request.param, timeout=20) as world:
        yield world


@pytest.mark.parametrize(
    "point", ["torch.save", "torch.load", "safetensors.save_file", "safetensors.load_file"]
)
def test_saving_and_loading_are_points_on_every_kind_of_rank(two_ranks, tmp_path, point):
    run = two_ranks.run(save_and_load, tmp_path, plan=f'{point}@1=raise(OSError, ENOSPC, "no room")')
    assert [(fired.rank, fired.point) for fired in run.fired] == [(1, point)]
    assert (run.outcomes[0].value, run.outcomes[1].kind) == (6.0, "raised")
    assert "no room" in run.outcomes[1].message
    assert two_ranks.run(save_and_load, tmp_path).fired == ()


def keep(directory):
    if dist.get_rank() == 1:
        Plugin().write("a")
    return Plugin().write("b")


def test_an_error_of_such_a_function_is_judged_like_any_other(two_ranks, tmp_path):
    plan = f"call.{HERE}:Plugin.write@1#2=raise(OSError, EIO)"
    assert two_ranks.run(keep, tmp_path, plan=plan).outcomes[1].message.endswith("Input/output error")
    swallowed = two_ranks.run(keep_quiet, tmp_path, plan=plan)
    assert [(found.check, found.verdict) for found in swallowed.violations] == [("attribution", "PARTIAL")]
    again = two_ranks.run(keep_trying, tmp_path, plan=plan)
    assert (again.verdict, len(again.fired)) == ("HELD", 1)


def keep_quiet(directory):
    try:
        keep(directory)
    except OSError:
        pass


def keep_trying(directory):
    try:
        keep(directory)
    except OSError:
        Plugin().write("b")


def test_a_simulated_rank_says_that_a_native_writer_made_the_file(tmp_path):
    with World(2, kind="simulated", timeout=20) as world:
        for plan, name in (
            ('fs.write("*.pt")@1=raise(OSError, ENOSPC)', "torch.save"),
            ('fs.write("*.safetensors")@1=raise(OSError, ENOSPC)', "safetensors.save_file"),
        ):
            run = world.run(save_and_load, tmp_path, plan=plan)
            (found,) = run.violations
            assert found.verdict == "INERT"
            assert "a native writer made that file" in found.evidence
            assert f"'{name}' is a point everywhere" in found.evidence
        run = world.run(save_a_text_to_a_stream, plan='fs.write("*.pt")=raise(OSError, EIO)')
        assert "native" not in run.violations[0].evidence
        other = world.run(save_and_load, tmp_path, plan='fs.open("*.other")=raise(OSError, EIO)')
        assert "native" not in other.violations[0].evidence


def save_a_text_to_a_stream():
    torch.save("a.pt", io.BytesIO())


def test_ranks_without_a_compiler_say_so(tmp_path):
    script = tmp_path / "without.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, torch
            from faultkit import World

            def save(directory):
                torch.save(1, f"{directory}/a.pt")

            if __name__ == "__main__":
                with World(1, timeout=20) as world:
                    run = world.run(save, sys.argv[1], plan='fs.open("*.pt")=raise(OSError, ENOSPC)')
                    print(run.violations[0].evidence)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "CC": "/no/compiler", "FAULTKIT_SLOTS": "0"},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )
    assert "do not reach without a C compiler; install one, or name it in CC" in done.stdout, done.stderr
