"""Points that are functions: torch.save, safetensors' save_file and their like, and any function by its name.

    torch.save   torch.load   safetensors.save_file   safetensors.load_file
    stager.copy  daemon.send  ...                      functions of the engine, where torch 2.13 has them
    call.mypkg.storage:Plugin.write                    layer call: module, colon, function or method

Reading such a point imports nothing; it says whether the module and, where this process has loaded it, the name in
it are there.  A plan never imports a module: one that the run does not import is not come by.  Not covered: the hooks
on a rank (`faultkit.injection.functions`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from faultkit.exceptions import PlanError
from faultkit.messages import nearest, seen

__all__ = ["CALL", "FUNCTIONS", "Function", "member", "read_call", "require_there"]

CALL = "call"

_ENGINE = "torch.distributed.checkpoint"
_DAEMON = f"{_ENGINE}._async_process_executor"


class Function(msgspec.Struct, frozen=True):
    """Where a function that is a point stands: `name` in `module`; `futures` and `gives` as of `Point`."""

    module: str
    name: str
    summary: str
    futures: bool = False
    gives: bool = True


FUNCTIONS = {
    "torch.save": Function(
        "torch.serialization", "save", "An object is saved to a path or a stream.", gives=False
    ),
    "torch.load": Function("torch.serialization", "load", "An object is loaded from a path or a stream."),
    "safetensors.save_file": Function(
        "safetensors.torch", "save_file", "Tensors are saved to a file, by Rust.", gives=False
    ),
    "safetensors.load_file": Function(
        "safetensors.torch", "load_file", "Tensors are loaded from a file, by Rust."
    ),
    "stager.copy": Function(
        f"{_ENGINE}._state_dict_stager",
        "StateDictStager.stage",
        "The state is copied into buffers of the stager.",
    ),
    "stager.buffer": Function(
        f"{_ENGINE}._state_dict_stager",
        "StateDictStager._stage_untyped_storage",
        "One storage is copied into its buffer, which is made, or kept from an earlier save.",
    ),
    "daemon.address": Function(
        _DAEMON, "_ProcessGroupInitInfo.__init__", "Ranks agree where their daemons meet.", gives=False
    ),
    "daemon.port": Function(
        _DAEMON, "get_free_port", "The coordinator looks for a free port for the daemons."
    ),
    "daemon.spawn": Function(
        _DAEMON,
        "_AsyncCheckpointProcess.__init__",
        "The daemon is started, and waited for until it is ready.",
        gives=False,
    ),
    "daemon.save": Function(
        _DAEMON,
        "_AsyncCheckpointProcess.save",
        "The daemon is asked for a save, and its answer is waited for.",
    ),
    "daemon.send": Function(
        _DAEMON, "_AsyncCheckpointProcess._send", "A request goes to the daemon through a pipe.", gives=False
    ),
    "daemon.receive": Function(
        _DAEMON, "_AsyncCheckpointProcess._wait_for_response", "An answer of the daemon is waited for."
    ),
    "daemon.execute": Function(
        _DAEMON,
        "_AsyncCheckpointProcess._execute_save",
        "In the daemon: it makes the save that it was asked for.",
    ),
}
NAME_LENGTH_MAX = 500
_NAME = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
_CALL = rf"{CALL}\.({_NAME}):({_NAME})"


def read_call(text: str) -> tuple[str, str]:
    """The module and the name in it that a point of layer call means.  Raises PlanError."""
    found = re.fullmatch(_CALL, text) if len(text) <= NAME_LENGTH_MAX else None
    if found is None:
        raise PlanError(
            f"a point of layer '{CALL}' is {CALL}.module:function, such as "
            f"'{CALL}.mypkg.storage:Plugin.write' (got {seen(text)})"
        )
    return found.group(1), found.group(2)


def member(module: Any, name: str) -> tuple[Any, str, Any]:
    """What holds the function `name` of a loaded module, its last name, and the function as it stands there.

    Raises PlanError, with the nearest name, where it is not there or cannot be called.
    """
    owner, parts = module, name.split(".")
    for number, part in enumerate(parts):
        found = _raw(owner, part)
        if found is _NOTHING:
            known = [one for one in dir(owner) if not one.startswith("__")]
            where = ".".join((module.__name__, *parts[:number]))
            raise PlanError(f"{where!r} has no {seen(part)}{nearest(part, known)}")
        if number == len(parts) - 1:
            inner = found.__func__ if isinstance(found, staticmethod | classmethod) else found
            if not callable(inner) or isinstance(inner, type):
                raise PlanError(
                    f"{module.__name__}:{name} must be a function or a method (it is a {type(inner).__name__})"
                )
            return owner, part, found
        owner = getattr(owner, part)
    raise AssertionError(name)


def require_there(points: Iterable[str]) -> None:
    """Raise PlanError for a point of layer call whose module, or whose name in a loaded module, does not exist."""
    for point in points:
        if not point.startswith(f"{CALL}."):
            continue
        module, name = read_call(point)
        for reason in _missing(module):
            raise PlanError(f"point {point!r}: {reason}")
        if module in sys.modules:
            try:
                member(sys.modules[module], name)
            except PlanError as error:
                raise PlanError(f"point {point!r}: {error}") from None


_NOTHING = object()


def _raw(owner: Any, name: str) -> Any:
    """The attribute as it stands in a module, a class or one of its bases, without binding it."""
    for place in getattr(owner, "__mro__", (owner,)):
        found = vars(place).get(name, _NOTHING)
        if found is not _NOTHING:
            return found
    return _NOTHING


def _missing(module: str) -> Iterator[str]:
    """One sentence where no such module can be found; nothing is imported."""
    parts, path = module.split("."), None
    for number in range(len(parts)):
        full = ".".join(parts[: number + 1])
        loaded = sys.modules.get(full)
        if loaded is not None:
            path = getattr(loaded, "__path__", None)
        else:
            spec = _spec_of(full, path)
            if spec is None:
                yield f"there is no module {full!r}{nearest(full, _neighbours(full, path))}"
                return
            path = spec.submodule_search_locations
        if path is None and number < len(parts) - 1:
            yield f"module {full!r} is no package, and has no {parts[number + 1]!r}"
            return


def _spec_of(name: str, path: Any) -> Any:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(name, path, None) if find is not None else None
        if spec is not None:
            return spec
    return None


def _neighbours(name: str, path: Any) -> list[str]:
    """The modules of the same package; none at the top, where everything that is installed stands."""
    import pkgutil

    package = name.rpartition(".")[0]
    return (
        [f"{package}.{module.name}" for module in pkgutil.iter_modules(list(path or ()))] if package else []
    )
