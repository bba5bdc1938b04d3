"""The public methods of the interfaces of torch.distributed.checkpoint, read off the source of the installed torch.

The source of those classes is parsed, never run: importing torch costs seconds, parsing costs milliseconds.
Guarantees: each public method of a class and of its bases in the same file, in the order of the source, whether its
return annotation names a Future, and whether it is None.  Without torch the methods are built-in ones, those of torch
2.13.  Not covered: private methods, properties, and bases that stand in another file.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import threading
import warnings
from pathlib import Path

import msgspec

__all__ = ["Method", "methods_of", "torch_checkpoint_folder"]


class Method(msgspec.Struct, frozen=True):
    """A public method: `futures` tells whether it returns a future, `gives` whether it returns anything.

    `summary` is the first line of its docstring.
    """

    name: str
    futures: bool = False
    summary: str = ""
    gives: bool = True


_parsing = threading.Lock()  # Python 3.11 counts the depth of a tree for all threads at once, and then fails
_NOTHING = ("None", "Future[None]")  # return annotations of what gives nothing

# Where torch is not installed: the methods of the same classes in torch 2.13, "~" where a future is returned, "-" where
# nothing is.
_BUILT_IN = {
    "StorageWriter": "reset- set_up_storage_writer- prepare_local_plan prepare_global_plan write_data~ finish- "
    "validate_checkpoint_id storage_meta",
    "StorageReader": "reset- read_metadata set_up_storage_reader- prepare_local_plan prepare_global_plan "
    "read_data~- validate_checkpoint_id",
    "SavePlanner": "set_up_planner- create_local_plan create_global_plan finish_plan resolve_data",
    "LoadPlanner": "set_up_planner- create_local_plan create_global_plan finish_plan load_bytes- resolve_bytes "
    "resolve_tensor commit_tensor-",
    "FileSystemBase": "create_stream concat_path rename- init_path mkdir- validate_checkpoint_id exists "
    "rm_file-",
    "_DistWrapper": "broadcast_object gather_object all_gather_object scatter_object barrier-",
    "AsyncStager": "stage~ synchronize_staging- close-",
}


def torch_checkpoint_folder() -> Path | None:
    """The folder of torch.distributed.checkpoint, or None where torch is not installed; imports nothing."""
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations if spec else None) or ():
        found = Path(folder, "distributed", "checkpoint")
        if found.is_dir():
            return found
    return None


@functools.lru_cache(maxsize=64)
def methods_of(folder: Path | None, file_name: str, class_name: str) -> tuple[Method, ...]:
    """The methods of a class, of the file `file_name` in `folder`; the built-in ones where it cannot be read."""
    try:
        source = Path(folder, file_name).read_text(encoding="utf-8") if folder is not None else None
    except (OSError, UnicodeDecodeError):
        source = None
    if source is None:
        return tuple(
            Method(word.rstrip("~-"), "~" in word, gives=not word.endswith("-"))
            for word in _BUILT_IN[class_name].split()
        )
    return tuple(_methods_in(source, class_name).values())


def _methods_in(source: str, class_name: str) -> dict[str, Method]:
    """The public methods of a class and of its bases in the same source, by name, in source order."""
    definition = _class_definition(source, class_name)
    if definition is None:
        return {}
    found: dict[str, Method] = {}
    for base in definition.bases:
        if isinstance(base, ast.Name) and base.id != class_name:
            found |= _methods_in(source, base.id)
    for node in definition.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if any("property" in ast.unparse(d) or "setter" in ast.unparse(d) for d in node.decorator_list):
            continue
        returns = ast.unparse(node.returns).strip("'\"") if node.returns is not None else ""
        summary = (ast.get_docstring(node) or "").partition("\n")[0].strip()
        futures = re.search(r"\bFuture\b", returns) is not None
        found[node.name] = Method(node.name, futures, summary, returns not in _NOTHING)
    return found


def _class_definition(source: str, class_name: str) -> ast.ClassDef | None:
    # Parsing a whole file costs ten times what parsing one class costs, so the class is cut out first: its
    # header and the lines that are blank, indented or comments.  A cut that splits a string or a bracket is
    # a syntax error, and then the whole file is parsed.
    cut = re.search(rf"^class {class_name}\b.*\n(?:(?:[ \t#)].*)?\n)*", source + "\n", re.MULTILINE)
    if cut is None:
        return None
    for text in (cut.group(), source):
        try:
            with _parsing, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what the compiler thinks of torch's strings is not ours
                tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == class_name:
                return node
    return None
