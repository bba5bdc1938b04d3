"""A run as a plain script, to be attached to a report: torch alone, no faultkit (`plain_script`).

Guarantees: the script starts as many ranks as the run had, does the same work, breaks the same calls of the
engine in the same way, ends by itself, prints what each rank saw, and exits with 1 where the ranks that
suffered see what they saw in the run, with 0 where they do not or the run was fine.  What cannot be put into a
script is refused with the reason: ScriptError.  Built-in scenarios have their script; other work has one if
its source can be taken over (`faultkit.repro.script_work`).

Not covered: faults in file operations beneath the engine's own file layer, what outlives a run (LEAKED), attempts
after the first one, other backends than gloo, and platforms that cannot fork.
"""

from __future__ import annotations

import ast
import builtins
import errno as errno_codes
import functools
import importlib
import os
import platform
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faultkit.checks import meaning_of
from faultkit.plan import Fault
from faultkit.plan.actions import OWN_EXCEPTIONS, Action
from faultkit.plan.spans import spans_of
from faultkit.repro.script_work import ScriptError, chunk_of_class, work_of

if TYPE_CHECKING:
    from faultkit.runs.run import Run

__all__ = ["ScriptError", "plain_script"]

DEADLINE_SECONDS_MAX = 30.0
LAYERS = ("app", "clock", "comm", "fs", "planner", "reader", "storage", "writer")
ENGINE_FILE_POINTS = frozenset("create_stream concat_path rename init_path mkdir exists rm_file".split())
CLAIM_CHARACTERS_MAX = 2_000


def plain_script(
    run: Run,
    function: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    prepare: Callable[..., Any] | None = None,
) -> str:
    """The script of `run`, which was ``function(*args, **kwargs)`` on every rank.  Raises ScriptError.

    `prepare`, called in the same way, fills the directory before anything is broken.
    """
    if run.verdict in ("LEAKED", "INERT"):
        raise ScriptError(
            "nothing fired in this run, so a script would show nothing"
            if run.verdict == "INERT"
            else "what is left behind by a run shows in no rank's outcome, which is all that a script tells"
        )
    if run.verdict in ("SILENT_WRONG", "LOST_WORK") and all(
        o.kind == "returned" for o in run.outcomes.values()
    ):
        raise ScriptError(
            "what is wrong with this run is what it stored, and a script tells only what ranks saw"
        )
    if run.attempts_after:
        raise ScriptError("the run had attempts after the first one, which the script does not make")
    chunks: list[str] = []
    faults = [_fault(fault, run, function, chunks) for fault in run.plan]
    source, calls = work_of(
        [function] if prepare is None else [function, prepare], args, kwargs or {}, _reserved_names()
    )
    for name, call in zip(("do_run", "prepare_run"), calls, strict=False):
        source += f"\n\n\ndef {name}(directory):\n    return {call}"
    claim = " ".join(violation.evidence for violation in run.violations)[:CLAIM_CHARACTERS_MAX]
    claim = claim.replace("injected by faultkit: ", "injected: ")
    suffering = {rank for violation in run.violations for rank in violation.ranks}
    head = "\n".join(
        [
            f"WORLD_SIZE = {run.world_size}",
            f"DEADLINE_SECONDS = {min(DEADLINE_SECONDS_MAX, run.timeout_seconds)}",
            f"PREPARES = {prepare is not None}",
            f"EXPECTED = {_expected(run)}",
            f"SUFFERERS = {sorted(suffering) or list(range(run.world_size)) if claim else []}",
            f"CLAIM = {claim!r}",
        ]
    )
    particular = "\n\n\n".join([*dict.fromkeys(chunks), head, _listed(faults), source])
    runtime = re.sub(r'\A""".*?"""\n', "", _runtime(), flags=re.DOTALL)
    before, _, rest = runtime.partition("# <<<")
    _, _, after = rest.partition("# >>>\n")
    text = f"{_docstring(run)}{before.rstrip()}\n\n# -- what is run, and what is broken\n\n{particular}\n\n{after}"
    try:
        compile(text, "script", "exec")
    except SyntaxError as error:
        raise ScriptError(f"its source does not stand alone: {error}") from None
    return text


def _docstring(run: Run) -> str:
    plan = str(run.plan).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    torch_version = version("torch")
    return (
        f'"""{run.verdict}: {meaning_of(run.verdict, run.violations)}.\n\n'
        f"{plan}\n\n"
        f"A save or load of torch.distributed.checkpoint on {run.world_size} ranks, in which some calls are made\n"
        "to fail. Run it with plain Python: torch is all that it needs. It prints what each rank saw, and exits\n"
        f"with 1 where the defect shows, with 0 where it does not. Seen with torch {torch_version}, Python "
        f"{platform.python_version()}.\n\n"
        '    python SCRIPT [--deadline SECONDS]\n"""\n'
    )


@functools.cache
def _runtime() -> str:
    return Path(__file__).with_name("script_runtime.py").read_text(encoding="utf-8")


@functools.cache
def _reserved_names() -> dict[str, Any]:
    """The names of the script's own part, each with the module that it means, or something that nothing is."""
    found: dict[str, Any] = {}
    for node in ast.parse(_runtime()).body:
        match node:
            case ast.FunctionDef(name=name):
                found[name] = found
            case ast.Assign(targets=targets):
                names = [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
                found |= dict.fromkeys(names, found)
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = found
            case ast.Import(names=imported):
                for one in imported:
                    root = one.name.partition(".")[0]
                    found[root] = importlib.import_module(root)
            case ast.ImportFrom(module=str(module), names=imported) if module != "__future__":
                found |= {one.name: getattr(importlib.import_module(module), one.name) for one in imported}
    return found


# -- the faults ------------------------------------------------------------------------------------


def _fault(fault: Fault, run: Run, function: Callable[..., Any], chunks: list[str]) -> dict[str, str]:
    """The fault as texts of Python; `chunks` gets the classes that its error needs."""
    if fault.in_child:
        raise ScriptError(f"a script does not reach into processes that a rank starts (of {str(fault)!r})")
    if fault.layer not in LAYERS:
        raise ScriptError(f"a script has no way into the layer {fault.layer!r} (of {str(fault)!r})")
    if fault.layer == "fs" and fault.name not in ENGINE_FILE_POINTS:
        raise ScriptError(f"{fault.point} lies beneath the engine's own file layer, out of a script's reach")
    if fault.layer == "app" and (fault.name == "stage" or not _is_built_in(function)):
        raise ScriptError(f"which objects {fault.point} means is not known outside of the run")
    action, error = _action(fault.action, fault, chunks)
    ranks = [
        rank for rank in range(run.world_size) if fault.matches_rank(rank, run.world_size, run.coordinator)
    ]
    points = [fault.point]
    if fault.layer == "storage":
        points = [f"{layer}.{fault.name}" for layer in ("writer", "reader")]
    calls = [(low, None if high == float("inf") else int(high)) for low, high in spans_of(fault.calls)]
    return {
        "text": repr(str(fault)),
        "points": repr(points),
        "moment": repr(fault.moment),
        "ranks": repr(ranks),
        "calls": repr(calls),
        "action": repr(action),
        "error": error,
    }


def _action(action: Action, fault: Fault, chunks: list[str]) -> tuple[tuple[Any, ...], str]:
    if action.raises:
        leaves = ("leave",) if action["after"] == "leave" else ()
        return ("raise", *leaves), f"lambda: {_error(action, fault, chunks)}"
    known = _SCRIPTED.get(action.name)
    if known is None:
        raise ScriptError(f"a script does not know the action {str(action)!r}")
    return known(action)


# What `happen` of the script is given, and the expression that makes an error.
_SCRIPTED: dict[str, Callable[[Action], tuple[tuple[Any, ...], str]]] = {
    "memory": lambda action: (("raise",), "lambda: MemoryError()"),
    "delay": lambda action: (("delay", action.duration_seconds), "None"),
    "hang": lambda action: (("hang", action["how"]), "None"),
    "stop": lambda action: (
        ("stop", *(() if (seconds := action.duration_seconds) is None else (seconds,))),
        "None",
    ),
    "exit": lambda action: (("exit", action["code"]), "None"),
    "kill": lambda action: (("kill", str(action["signal"]), 5.0 if action.kills else 0.0), "None"),
    "segfault": lambda action: (("kill", "SIGSEGV", 5.0), "None"),
}


def _error(action: Action, fault: Fault, chunks: list[str]) -> str:
    """The expression that makes the error, as `faultkit.injection.errors.build` makes it."""
    name, given, number = str(action["exception"]), action.get("message"), action.get("errno")
    message = repr(str(given) if given is not None else f"injected: {fault}")
    module, _, kind = name.rpartition(":")
    if name.startswith(OWN_EXCEPTIONS):
        from faultkit import hostile

        module = hostile.BORROWED.get(kind, "")
        if not module:
            chunks += chunk_of_class(getattr(hostile, kind))
    known = getattr(builtins, kind, None) if not module else None
    if module:
        chunks.append(f"import {module}")
        kind = f"{module}.{kind}"
    if number is not None:
        code = number if isinstance(number, int) else getattr(errno_codes, str(number))
        return f"{kind}({code}, {str(given) if given is not None else os.strerror(code)!r})"
    if known is UnicodeDecodeError:
        return f"{kind}('utf-8', b'\\xff', 0, 1, {message})"
    if known is UnicodeEncodeError:
        return f"{kind}('utf-8', '\\udcff', 0, 1, {message})"
    if known is UnicodeTranslateError:
        return f"{kind}('\\udcff', 0, 1, {message})"
    if isinstance(known, type) and issubclass(known, BaseExceptionGroup):
        member = "RuntimeError" if issubclass(known, Exception) else "KeyboardInterrupt"
        return f"{kind}({message}, [{member}({message})])"
    if kind.endswith(".CheckpointException"):
        return f"{kind}({message}, {{}})"
    return f"{kind}({message})"


def _listed(faults: list[dict[str, str]]) -> str:
    lines = ["FAULTS = ["]
    for fault in faults:
        lines += ["    {", *(f'        "{name}": {text},' for name, text in fault.items()), "    },"]
    return "\n".join([*lines, "]"])


# -- the rest --------------------------------------------------------------------------------------


def _expected(run: Run) -> str:
    """What each rank saw, in the words in which the script says it."""
    lines = ["{"]
    fired = {(one.rank, run.plan.faults.index(one.fault)) for one in run.fired}
    for rank, outcome in sorted(run.outcomes.items()):
        seen: dict[str, Any] = {"kind": outcome.kind, "fired": sorted(n for r, n in fired if r == rank)}
        if outcome.kind == "died":
            number = getattr(outcome, "signal", None)
            seen["type"] = str(number) if number else f"exit({getattr(outcome, 'exitcode', None)})"
        elif outcome.kind == "raised":
            seen["type"] = getattr(outcome, "type_name", "")
            failures = getattr(outcome, "failures", None)
            if failures:
                seen["failures"] = {str(r): kind for r, (kind, _) in failures.items()}
        elif outcome.kind == "hung":
            seen["text"] = str(getattr(outcome, "waiting", "") or "")
        lines.append(f"    {rank}: {seen!r},")
    return "\n".join([*lines, "}"])


def _is_built_in(function: Callable[..., Any]) -> bool:
    return getattr(function, "__module__", "") == "faultkit.scenarios.checkpoint"
