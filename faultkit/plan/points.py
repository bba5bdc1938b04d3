"""The catalogue of injection points, read off the installed torch without importing it.

A point is ``layer.name``: a public method of one of the interfaces that torch.distributed.checkpoint defines.

    writer    StorageWriter          planner   SavePlanner and LoadPlanner
    reader    StorageReader          fs        FileSystemBase, and the files below: open, read, write, fsync ...
    storage   writer or reader       comm      the object collectives of utils._DistWrapper, and its barrier
    app       the application's own state_dict and load_state_dict, and staging
    stager    AsyncStager, and the copies that it makes       executor   the thread of an asynchronous save
    daemon    the process of an asynchronous save by process: its start, what is sent to it, what it answers
    torch     torch.save and torch.load        safetensors   save_file and load_file of safetensors.torch
    http      requests to the S3 server of a campaign, by verb
    call      any function or method by name, ``call.mypkg.storage:Plugin.write``; none is in the catalogue
    clock     the time since the start: call N of ``clock.millisecond`` is the end of millisecond N

Layer ``fs`` has two floors.  The methods of FileSystemBase, and reading, writing, flushing, seeking, truncating
and closing of the streams that it opens, are there for every file system (local, fsspec, S3 ...); the rest of
`FILE_POINTS` for real files alone, whoever opens them.  A rename, a mkdir or a listing is one call on both.

The classes are read by `faultkit.plan.torch_source`, so that a method that a later torch adds is a point without a
change here.  What the engine's calls make of a point, such as its place in a save, is asked of the point, too
(`faultkit.plan.engine_calls`).  Not covered: private methods, properties, and whether a given run ever reaches a point.
"""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

from faultkit.exceptions import PlanError
from faultkit.messages import listed, nearest, seen
from faultkit.plan import engine_calls
from faultkit.plan.file_filters import ANY, CHILD
from faultkit.plan.named_points import CALL, FUNCTIONS, read_call
from faultkit.plan.torch_source import methods_of, torch_checkpoint_folder

__all__ = [
    "FILE_POINTS",
    "HTTP",
    "LAYERS",
    "MOMENTS",
    "NATIVE_POINTS",
    "OPERATIONS",
    "STREAM_POINTS",
    "Point",
    "catalogue",
    "default_error",
    "find",
    "require_filterable",
    "require_moment",
]

LAYERS = (
    "writer",
    "reader",
    "storage",
    "planner",
    "fs",
    "comm",
    "app",
    "stager",
    "executor",
    "daemon",
    "torch",
    "safetensors",
    "http",
    "call",
    "clock",
)
HTTP = "http"
MOMENTS = ("before", "after", "future")
OPERATIONS = ("save", "load")
_OPERATION_OF = {"writer": "save", "reader": "load", "stager": "save", "executor": "save", "daemon": "save"}


class Point(msgspec.Struct, frozen=True):
    """A named place where a fault can enter.

    `futures` tells whether the place returns a future, so that the moment ``future`` is legal; `summary` is
    the first line of what the interface says of it, or empty.  `gives` tells whether its call gives a value.
    """

    layer: str
    name: str
    futures: bool = False
    summary: str = ""
    gives: bool = True

    def __str__(self) -> str:
        return f"{self.layer}.{self.name}"

    @property
    def takes_path(self) -> bool:
        """Whether a fault here can say which files, or which keys of a store, it means."""
        return self.layer in ("fs", HTTP)

    @property
    def moments(self) -> tuple[str, ...]:
        """The moments at which a fault can enter here."""
        if self.layer == "clock":
            return MOMENTS[:1]
        return MOMENTS if self.futures else MOMENTS[:2]

    @property
    def known_moments(self) -> tuple[str, ...]:
        """Those at which a fault is known to enter: whether a function of the user's returns a future nobody says."""
        return MOMENTS[:2] if self.layer == CALL else self.moments

    @property
    def operations(self) -> tuple[str, ...]:
        """Of ``save`` and ``load`` those that come by here; both where the engine's calls do not say."""
        if self.layer in _OPERATION_OF:
            return (_OPERATION_OF[self.layer],)
        found = tuple(op for op, calls in engine_calls.ORDERS.items() if self._in_calls in calls)
        return found if found == ("load",) else OPERATIONS

    @property
    def coordinator_only(self) -> bool:
        """Whether the engine calls it on the coordinator alone: on any other rank a fault here never fires."""
        return self.name in engine_calls.COORDINATOR_ONLY

    @property
    def is_early(self) -> bool:
        """Whether it comes before any data is written or read: a rank that fails here comes by nothing later."""
        return self._in_calls in engine_calls.EARLY

    def place_in(self, op: str) -> int:
        """Its place among the calls of a ``save`` or a ``load``; one that they do not name stands behind them."""
        order = engine_calls.ORDERS[op]
        return order.index(self._in_calls) if self._in_calls in order else len(order)

    @property
    def _in_calls(self) -> str:
        return f"storage.{self.name}" if self.layer in ("writer", "reader") else str(self)


_SOURCES = {
    "writer": (("storage.py", "StorageWriter"),),
    "reader": (("storage.py", "StorageReader"),),
    "storage": (("storage.py", "StorageWriter"), ("storage.py", "StorageReader")),
    "planner": (("planner.py", "SavePlanner"), ("planner.py", "LoadPlanner")),
    "fs": (("filesystem.py", "FileSystemBase"),),
    "comm": (("utils.py", "_DistWrapper"),),
    "stager": (("staging.py", "AsyncStager"),),
}

_APP = (
    Point("app", "state_dict", summary="The application hands over its state to be saved."),
    Point(
        "app", "load_state_dict", summary="The application takes over the state that was loaded.", gives=False
    ),
    Point("app", "stage", summary="The state is copied aside before an asynchronous save."),
)
_EXECUTOR = (
    Point("executor", "execute_save", True, "An asynchronous save is handed to a thread of the engine."),
    Point("executor", "run", summary="That thread makes the save, or has the daemon make it."),
)
STREAM_POINTS = ("read", "write", "seek", "flush", "truncate", "close")  # of any stream that is opened
FILE_POINTS = {
    "open": "A real file is opened.",
    "read": "Data is read from a file.",
    "write": "Data is written to a file, below Python's buffer where the file is a real one.",
    "seek": "The place in a stream is set.",
    "flush": "A stream is asked to write what it holds back.",
    "truncate": "The size of a file is set.",
    "fsync": "A real file, or a directory, is made durable (also fdatasync).",
    "close": "A file is closed.",
    "listdir": "The names in a directory are asked for (listdir, scandir, ls); a path means those names.",
    "stat": "A real file is looked up: its size or times, or whether it exists.",
    "link": "A real file gets another name.",
    "unlink": "A real file is removed.",
    "rmdir": "A directory is removed.",
}
_TAKES_ROOM = (
    "write",
    "flush",
    "truncate",
    "mkdir",
    "link",
)  # what a full disk refuses; the rest fails as a bad one does
NATIVE_POINTS = (  # that native code, and a forked child, come by as well
    "open", "read", "write", "truncate", "fsync", "close", "rename", "link", "unlink", "rmdir", "mkdir", "stat",
)  # fmt: skip
_FILES = tuple(Point("fs", name, summary=summary) for name, summary in FILE_POINTS.items())
_FUNCTIONS = tuple(
    Point(point.partition(".")[0], point.partition(".")[2], one.futures, one.summary, one.gives)
    for point, one in FUNCTIONS.items()
)
_HTTP = tuple(
    Point(HTTP, name, summary=summary, gives=False)
    for name, summary in {
        "put": "An object is stored as a whole, or copied from another.",
        "part": "A part of an upload is stored, or copied.",
        "post": "An upload in parts is begun, or completed.",
        "get": "An object is read, or a range of it.",
        "head": "An object is looked up.",
        "list": "The keys with a prefix are asked for; a path means the prefix.",
        "delete": "Objects are removed, or the parts of an upload.",
    }.items()
)
_CLOCK = (
    Point(
        "clock", "millisecond", summary="That many milliseconds after the function was called.", gives=False
    ),
)


def catalogue(folder: Path | None = None) -> tuple[Point, ...]:
    """Every injection point, in the order of `LAYERS`, within a layer in the order of torch's source.

    `folder` is a folder with the sources of torch.distributed.checkpoint; by default the installed one.
    """
    return _catalogue(folder)


def find(text: str, folder: Path | None = None) -> Point:
    """The point that ``"layer.name"`` names.  Raises PlanError, which names the nearest there is."""
    if not isinstance(text, str):
        raise TypeError(f"a point must be text such as 'writer.write_data' (got {seen(text)})")
    known = _by_text(folder)
    point = known.get(text)
    if point is not None:
        return point
    if text.startswith(f"{CALL}."):
        read_call(text)
        return Point(CALL, text.removeprefix(f"{CALL}."), futures=True)
    layer, dot, name = text.partition(".")
    if not dot and layer not in LAYERS:
        same_name = [str(p) for p in known.values() if p.name == text]
        hint = f"; did you mean {same_name[0]!r}?" if same_name else nearest(text, known)
        rule = "a point is layer.name, such as 'writer.write_data'"
        raise PlanError(f"unknown point {seen(text)}; {rule}{hint}")
    if layer not in LAYERS:
        raise PlanError(f"unknown layer {seen(layer)}; layers are {listed(LAYERS)}{nearest(text, known)}")
    of_layer = [p for p in known.values() if p.layer == layer]
    elsewhere = [str(p) for p in known.values() if p.name == name]
    hint = nearest(text, (str(p) for p in of_layer)) if dot else ""
    if elsewhere:
        hint = f"; did you mean {elsewhere[0]!r}?"
    names = listed(p.name for p in of_layer)
    raise PlanError(f"unknown point {seen(text)}; points of layer {layer!r} are {names}{hint}")


def default_error(text: str) -> str:
    """The action that fails the point ``"layer.name"``, where nobody says which: an error that its call has.

    No call of the system raises ValueError, which `pathlib` takes for "no such file"; at points of layer ``fs`` it is
    an OSError, ENOSPC of what takes room and else EIO; a request is answered with a status of 503.
    """
    layer, _, name = text.partition("(")[0].partition(".")
    if layer == HTTP:
        return "status(503)"
    if layer != "fs":
        return "raise(ValueError)"
    return f"raise(OSError, {'ENOSPC' if name in _TAKES_ROOM else 'EIO'})"


def require_moment(point: Point, moment: str) -> None:
    """Raises PlanError unless a fault can enter `point` at `moment`."""
    if moment not in MOMENTS:
        hint = nearest(moment, MOMENTS)
        raise PlanError(f"unknown moment {seen(moment)}; moments are {listed(MOMENTS)}{hint}")
    if moment not in point.moments and moment != "future":
        raise PlanError(f"'{point}' is a time, whose only moment is 'before' (got {moment!r})")
    if moment not in point.moments:
        raise PlanError(
            f"moment {moment!r} needs a point that returns a future ('{point}' does not); "
            f"moments of '{point}' are {listed(point.moments)}"
        )


def require_filterable(point: Point, path: str, thread: str) -> None:
    """Raises PlanError where files or threads are chosen at a point that is no operation on files.

    The role ``child`` is known at every point that is a call.
    """
    if point.layer == "clock" and thread == CHILD:
        raise PlanError(f"'{point}' is a time, and takes no role: a child process keeps none")
    if point.layer == HTTP and thread != ANY:
        raise PlanError(
            f"'{point}' takes no thread and no role: it is the rank that is asked of a request, no more"
        )
    if not point.takes_path and (path != ANY or thread not in (ANY, CHILD)):
        raise PlanError(
            f"'{point}' takes no path and no thread, and no role but 'child'; points of layer 'fs' do, such as "
            "'fs.write(\"*.distcp\")'"
        )


@functools.lru_cache(maxsize=8)
def _catalogue(folder: Path | None) -> tuple[Point, ...]:
    folder = folder if folder is not None else torch_checkpoint_folder()
    points: list[Point] = []
    for layer, classes in _SOURCES.items():
        merged: dict[str, Point] = {}
        for file_name, class_name in classes:
            for method in methods_of(folder, file_name, class_name):
                if layer == "comm" and not _is_collective(method.name):
                    continue
                earlier = merged.get(method.name)
                merged[method.name] = Point(
                    layer,
                    method.name,
                    method.futures or (earlier is not None and earlier.futures),
                    (earlier.summary if earlier else "") or method.summary,
                    method.gives or (earlier is not None and earlier.gives),
                )
        if layer == "fs":
            merged |= {point.name: point for point in _FILES if point.name not in merged}
        points += merged.values()
    points += (*_APP, *_EXECUTOR, *_FUNCTIONS, *_HTTP, *_CLOCK)
    return tuple(sorted(points, key=lambda point: LAYERS.index(point.layer)))


@functools.lru_cache(maxsize=8)
def _by_text(folder: Path | None) -> dict[str, Point]:
    return {str(point): point for point in _catalogue(folder)}


def _is_collective(name: str) -> bool:
    # The other public methods of the wrapper are steps of the engine, built of these.
    return name.endswith("_object") or name == "barrier"
