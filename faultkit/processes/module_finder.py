"""Lets a rank import the modules that the parent has, the way the parent imported them.

A function travels by the name of its module, but the parent may have loaded that module from a path that is on no
search path (pytest's importlib mode), or through pytest's assertion rewriting.  The parent sends a table of such
modules, and this finder answers from it.  Guarantees: a module of the table is loaded from the same file, with pytest's
rewritten asserts where the parent had them; every other import is untouched.  What the parent has loaded again since
(``importlib.reload``, or another file of the same name) is noticed: `loadings` tells another number, and no process
that has the earlier one is used.  Not covered: a file that was edited and is not loaded again here; installed packages.
"""

from __future__ import annotations

import ast
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType

__all__ = ["ModuleTable", "install", "loadings", "spec_of", "table_of_this_process"]

ModuleTable = dict[str, tuple[str, bool]]  # name -> (file, asserts rewritten)

_remembered: tuple[tuple[int, int, object], ModuleTable] = ((-1, 0, None), {})


def table_of_this_process() -> ModuleTable:
    """The modules of this process that a rank could not import, or not alike, by name alone."""
    global _remembered
    seen = (loadings(), *_latest)
    if _remembered[0] == seen:
        return _remembered[1]
    table: ModuleTable = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        file = getattr(module, "__file__", None)
        if spec is None or not isinstance(file, str) or not file.endswith(".py") or name == "__main__":
            continue
        rewritten = type(spec.loader).__name__ == "AssertionRewritingHook"
        if rewritten and not file.startswith(_installed_code()):
            table[name] = (file, True)
    _remembered = (seen, table)
    return table


# what each module of the user's was loaded by, when last seen
_own: dict[str, importlib.machinery.ModuleSpec] = {}
# how many modules there were then, and the one that had come last: a new one comes last, whatever goes meanwhile
_latest: tuple[int, object] = (0, None)
_count = [0]  # how often one of the user's was loaded again


def spec_of(name: str) -> importlib.machinery.ModuleSpec | None:
    """What the module of this process was loaded by: another one each time that it is loaded."""
    return getattr(sys.modules.get(name), "__spec__", None)


@functools.cache
def _installed_code() -> tuple[str, ...]:
    """The folders of what is installed, and of the interpreter."""
    import sysconfig  # which no rank needs

    paths = sysconfig.get_paths()
    return tuple(os.path.join(os.path.realpath(paths[key]), "") for key in ("purelib", "platlib", "stdlib"))


def loadings() -> int:
    """A number that is another one once a module of the user's own was loaded again."""
    global _latest
    again = False
    for name, known in _own.items():
        now = spec_of(name)
        if now is not None and now is not known:
            again, _own[name] = True, now
    count, last = len(sys.modules), next(reversed(sys.modules.values()))
    if _latest[0] != count or _latest[1] is not last:
        for name, module in list(sys.modules.items()):
            spec = spec_of(name)
            if name not in _own and spec and _is_of_the_user(name, getattr(module, "__file__", None)):
                _own[name] = spec
        _latest = (count, last)
    _count[0] += again
    return _count[0]


def _is_of_the_user(name: str, file: object) -> bool:
    if name.partition(".")[0] in ("faultkit", "pytest_faultkit", "__main__"):
        return False
    return isinstance(file, str) and not file.startswith(_installed_code())


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads with pytest's rewritten asserts, so that a failed assert explains itself on a rank too."""

    def get_code(self, fullname: str) -> CodeType | None:
        from _pytest.assertion.rewrite import rewrite_asserts

        path = self.get_filename(fullname)
        source = self.get_data(path)
        tree = ast.parse(source, filename=path)
        rewrite_asserts(tree, source, path)
        return compile(tree, path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self) -> None:
        self.table: ModuleTable = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        entry = self.table.get(fullname)
        if entry is None or not os.path.isfile(entry[0]):
            return None
        file, rewritten = entry
        loader = _Loader(fullname, file) if rewritten else None
        folder = os.path.dirname(file) if os.path.basename(file) == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname, file, loader=loader, submodule_search_locations=[folder] if folder else None
        )


class _PackageFinder(importlib.abc.MetaPathFinder):
    """Stands last: an empty package for a prefix of a name in the table that nothing else can find."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        depth = fullname.count(".") + 1
        for name, (file, _) in _finder.table.items():
            if name.startswith(fullname + "."):
                folder = os.path.dirname(file)
                for _ in range(name.count(".") + 1 - depth - (os.path.basename(file) != "__init__.py")):
                    folder = os.path.dirname(folder)
                spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
                spec.submodule_search_locations = [folder]
                return spec
        return None


_finder = _Finder()
_package_finder = _PackageFinder()


def install(table: ModuleTable) -> None:
    """Make the modules of `table` importable here under their names."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
        sys.meta_path.append(_package_finder)
    _finder.table.update(table)
