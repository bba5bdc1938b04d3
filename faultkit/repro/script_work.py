"""What the ranks of a plain script do: the source of a function with all that it uses, without faultkit.

Guarantees: `work_of` follows the names that a function of a module uses: functions, classes and plain constants
of the user's own modules are taken over as source, modules of torch, numpy and the standard library are
imported.  A `FaultyStorageWriter` without a plan of its own becomes a writer that stores nothing.  What cannot
be written down is refused with the reason, a ScriptError.  Not covered: names that are looked up at run time
(``getattr``, ``eval``), and what a module does besides defining names.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from faultkit.exceptions import FaultkitError
from faultkit.plan.signatures import taken

__all__ = ["STORES_NOTHING", "ScriptError", "Work", "chunk_of_class", "work_of"]

KNOWN_PACKAGES = ("torch", "numpy")
WITHOUT = ("faultkit", "hypothesis", "pytest", "pytest_faultkit")
SCENARIOS = "faultkit.scenarios."
NAMES_MAX = 200

STORES_NOTHING = '''
class FaultyStorageWriter(torch.distributed.checkpoint.StorageWriter):
    """Stores nothing, and says that all went well."""

    def __init__(self, plan="", inner=None):
        assert not plan and inner is None

    def reset(self, checkpoint_id=None): ...

    def set_up_storage_writer(self, is_coordinator, *args, **kwargs): ...

    def prepare_local_plan(self, plan):
        return plan

    def prepare_global_plan(self, plans):
        return plans

    def write_data(self, plan, planner):
        done = torch.futures.Future()
        done.set_result([])
        return done

    def finish(self, metadata, results): ...

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id):
        return True

    def storage_meta(self):
        return None
'''


class ScriptError(ValueError):
    """Raised where a run cannot be put into a plain script; the message is the reason."""


class Work:
    """The lines that a script needs before its ``work(directory)``, in order, each under its name."""

    def __init__(self, reserved: Mapping[str, Any] | None = None) -> None:
        """`reserved` are names that the script has already, each with what it means there."""
        self.chunks: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._reserved = reserved or {}

    @property
    def text(self) -> str:
        imports = [chunk for chunk in self.chunks.values() if chunk.startswith(("import ", "from "))]
        others = [chunk for chunk in self.chunks.values() if not chunk.startswith(("import ", "from "))]
        return "\n\n\n".join(["\n".join(sorted(set(imports))), *others]).strip()

    def add_function(self, function: FunctionType) -> None:
        """Take over a function of a module, and all that it uses.  Raises ScriptError."""
        name = function.__qualname__
        if "<locals>" in name or "<lambda>" in name or "." in name:
            raise ScriptError(
                f"{name} is no function of a module, so its source cannot be taken over; move it to the module"
            )
        if function.__closure__:
            raise ScriptError(f"{name} has variables of another function, which a script does not have")
        self._add_source(function.__name__, function, vars(sys.modules[function.__module__]))

    # -- inside ------------------------------------------------------------------------------------

    def _add(self, name: str, value: Any, where: str) -> None:
        if name in self.chunks:
            if self._values[name] is not value and self._values[name] != value:
                raise ScriptError(
                    f"{name!r} means two different things in the modules that the function uses"
                )
            return
        if name in self._reserved and self._reserved[name] is not value:
            raise ScriptError(f"{name!r} is a name that the script needs for itself; give yours another one")
        if len(self.chunks) >= NAMES_MAX:
            raise ScriptError(
                f"the function uses more than {NAMES_MAX} names of its own, too much for a script"
            )
        self._values[name] = value
        if isinstance(value, ModuleType) and value.__name__ == f"{SCENARIOS}state":
            names = [one for one in value.__all__ if callable(vars(value)[one])]
            for one in names:
                self._add(one, vars(value)[one], value.__name__)
            self.chunks["types"] = "import types"
            self.chunks[name] = (
                f"{name} = types.SimpleNamespace({', '.join(f'{one}={one}' for one in names)})"
            )
        elif isinstance(value, ModuleType):
            self.chunks[name] = _import_of(name, value)
        elif _is_class_of(value, "faultkit.injection.storage", "FaultyStorageWriter"):
            self.chunks[name] = STORES_NOTHING.strip().replace("class FaultyStorageWriter", f"class {name}")
        elif isinstance(value, type) and value.__module__ == FaultkitError.__module__:
            base = next(one for one in value.__mro__ if one.__module__ == "builtins")
            self.chunks[name] = f"class {name}({base.__name__}):\n    pass"
        elif isinstance(value, FunctionType | type) or callable(value):
            self._add_definition(name, value, where)
        elif _is_plain(value):
            self.chunks[name] = f"{name} = {value!r}"
        else:
            raise ScriptError(
                f"{name!r} of {where}, a {type(value).__name__}, cannot be written into a script; "
                "make it within the function"
            )

    def _add_definition(self, name: str, value: Any, where: str) -> None:
        module = str(getattr(value, "__module__", None) or "")
        qualified = str(getattr(value, "__qualname__", "") or "")
        if _is_known(module) and "<" not in qualified and _found(module, qualified) is value:
            # the name may be one of a part of a class, which no import reaches
            self.chunks[name] = (
                f"from {module} import {qualified}" + (f" as {name}" if name != qualified else "")
                if "." not in qualified
                else f"import {module}\n{name} = {module}.{qualified}"
            )
            return
        if not isinstance(value, FunctionType | type):
            raise ScriptError(
                f"{name!r} of {where}, a {type(value).__name__}, cannot be written into a script"
            )
        if qualified != name or module not in sys.modules:
            raise ScriptError(
                f"{name!r} of {where} is defined as {qualified}, whose source cannot be taken over"
            )
        self._add_source(name, value, vars(sys.modules[module]))

    def _add_source(self, name: str, value: Any, namespace: dict[str, Any]) -> None:
        module = str(namespace.get("__name__"))
        if _root(module) in WITHOUT and not module.startswith(SCENARIOS):
            raise ScriptError(f"it uses {module}.{name}, and the script is to do without {_root(module)}")
        try:
            source = textwrap.dedent(inspect.getsource(value)).rstrip()
            if module.startswith(SCENARIOS):
                source, namespace = _without_local_import(source, namespace)
            source, tree = _without_marks(source)
        except (OSError, TypeError, SyntaxError):
            raise ScriptError(f"the source of {module}.{name} cannot be read") from None
        self._values[name] = value
        self.chunks[name] = ""  # it may use itself; its place comes after all that it uses
        for used in dict.fromkeys(_names_used(tree, f"{module}.{name}")):
            if used in namespace:
                self._add(used, namespace[used], module)
            elif not hasattr(builtins, used) and used not in _names_bound(tree):
                raise ScriptError(f"{module}.{name} uses the name {used!r}, which its module does not have")
        del self.chunks[name]
        self.chunks[name] = source


def _without_marks(source: str) -> tuple[str, ast.Module]:
    """The source of a definition without the marks of pytest above it, which mean nothing in a script."""
    tree = ast.parse(source)
    definition = tree.body[0]
    decorators = getattr(definition, "decorator_list", [])
    if not decorators or not all(ast.unparse(one).startswith("pytest.mark.") for one in decorators):
        return source, tree
    source = "\n".join(source.splitlines()[definition.lineno - 1 :])
    return source, ast.parse(source)


def _without_local_import(source: str, namespace: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The source of a built-in scenario, which imports the module of its state only on the ranks."""
    from faultkit.scenarios import state

    without = re.sub(r"^ +from faultkit\.scenarios import state\n\n?", "", source, flags=re.MULTILINE)
    return without, namespace if without == source else {**namespace, "state": state}


def work_of(
    functions: Iterable[Callable[..., Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    reserved: Mapping[str, Any],
) -> tuple[str, list[str]]:
    """The source that the functions need, and the call of each with the arguments as text; raises ScriptError.

    A path to a directory among the arguments becomes the fresh ``directory`` of the script.  The functions after the
    first get those keywords that they take.
    """
    words = [_argument(value, f"argument {place}") for place, value in enumerate(args, start=1)]
    named = {name: f"{name}={_argument(value, f'argument {name!r}')}" for name, value in kwargs.items()}
    work = Work(reserved)
    calls: list[str] = []
    for function in functions:
        if not isinstance(function, FunctionType):
            raise ScriptError(
                f"what ran is a {type(function).__name__}, and only functions of a module can be taken over"
            )
        work.add_function(function)
        given = [*words, *(taken(function, named) if calls else named).values()]
        calls.append(f"{function.__name__}({', '.join(given)})")
    return work.text, calls


def chunk_of_class(cls: type) -> tuple[str, ...]:
    """The sources that a class of `faultkit.hostile` needs: its functions of that module, and itself."""
    source = textwrap.dedent(inspect.getsource(cls)).rstrip()
    source = re.sub(r"^(\s*)def __new__\(cls, (.*)\) -> \w+:", r"\1def __new__(cls, \2):", source, flags=re.M)
    namespace = vars(sys.modules[cls.__module__])
    chunks = []
    for used in dict.fromkeys(_names_used(ast.parse(source), cls.__qualname__)):
        value = namespace.get(used)
        if isinstance(value, FunctionType) and value.__module__ == cls.__module__:
            chunks.append(inspect.getsource(value).rstrip())
        elif isinstance(value, int):
            chunks.append(f"{used} = {value!r}")
    return (*chunks, source)


def _argument(value: Any, what: str) -> str:
    if isinstance(value, Path) or (isinstance(value, str) and value.startswith("/") and Path(value).is_dir()):
        return "directory"
    if not _is_plain(value):
        raise ScriptError(f"{what}, a {type(value).__name__}, cannot be written into a script")
    return repr(value)


def _is_plain(value: Any) -> bool:
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def _names_used(tree: ast.AST, where: str) -> Iterator[str]:
    """Names that are read, save for those in annotations; what is imported inside must be known."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            for name in names:
                if not _is_known(name):
                    raise ScriptError(
                        f"{where} imports {name or 'a part of its own package'}, "
                        "and the script is to do with torch alone"
                    )
        for field, child in ast.iter_fields(node):
            if field not in ("annotation", "returns"):
                waiting += [
                    one for one in (child if isinstance(child, list) else [child]) if isinstance(one, ast.AST)
                ]


def _names_bound(tree: ast.AST) -> set[str]:
    bound = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            bound.add(node.name)
    return bound


def _import_of(name: str, module: ModuleType) -> str:
    full = module.__name__
    if not _is_known(full):
        raise ScriptError(f"it uses the module {full}, and the script is to do with torch alone")
    if full == name:
        return f"import {full}"
    above, _, last = full.rpartition(".")
    return f"from {above} import {last}" if above and last == name else f"import {full} as {name}"


def _is_known(module: str) -> bool:
    return _root(module) in KNOWN_PACKAGES or _root(module) in sys.stdlib_module_names


def _root(module: str) -> str:
    return module.partition(".")[0]


def _found(module: str, qualified: str) -> Any:
    try:
        found: Any = importlib.import_module(module)
        for part in qualified.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found


def _is_class_of(value: Any, module: str, name: str) -> bool:
    return isinstance(value, type) and value.__module__ == module and value.__name__ == name
