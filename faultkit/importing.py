"""What ``module:attribute`` names: imported, or one `ImportMistake` that says what became of it.

Guarantees: whatever a module does when it is imported, the caller goes on: it raises, it calls ``sys.exit``, or
``os._exit``, be it in a thread that it starts.  Ctrl-C passes.  Not covered: a module that never comes back, or ends
the process by a signal; and a thread that calls ``os._exit`` once the import is over (`faultkit.endings.refuse`).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from faultkit.exceptions import ImportMistake
from faultkit.messages import nearest, seen

__all__ = ["has_module", "imported"]


class _Ended(BaseException):
    """Raised instead of ending the process."""


def has_module(name: str) -> bool:
    """Whether there is a module for the first part of `name`; imports nothing."""
    root = name.partition(".")[0]
    try:
        return bool(root) and importlib.util.find_spec(root) is not None
    except (ImportError, ValueError):  # __main__ has none
        return False


def imported(text: str) -> Any:
    """What the attribute of the module is.  Raises ImportMistake."""
    module_name, colon, path = text.partition(":")
    if not module_name or not colon or not path:
        raise ImportMistake(f"a scenario of your own is written module:attribute (got {seen(text)})")
    if "/" in module_name or not all(module_name.split(".")):
        raise ImportMistake(
            f"a module is named as in an import, such as package.module (got {seen(module_name)}); "
            "the current directory and installed packages are searched"
        )
    found = _module(module_name, text)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            public = [name for name in dir(found) if not name.startswith("_")]
            raise ImportMistake(
                f"module {module_name!r} has no attribute {seen(path)}{nearest(part, public)}"
            ) from None
        except Exception as error:
            raise ImportMistake(
                f"attribute {seen(path)} of module {module_name!r} cannot be had: {_told(error)}"
            ) from None
    return found


def _module(name: str, text: str) -> Any:
    try:
        with _going_on():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise ImportMistake(f"module {name!r} cannot be imported: {_first_line(error)}") from None
        raise ImportMistake(
            f"there is no module {error.name!r} (of scenario {seen(text)}); "
            "the current directory and installed packages are searched"
        ) from None
    except SystemExit as error:
        shown = "" if error.code is None else seen(error.code)
        raise ImportMistake(
            f"module {name!r} cannot be imported: it calls sys.exit({shown}); "
            "what a module does as a program belongs under if __name__ == '__main__'"
        ) from None
    except _Ended as error:
        sys.modules.pop(
            name, None
        )  # it may have come to its end, and would be taken for imported the next time
        raise ImportMistake(f"module {name!r} cannot be imported: it calls os._exit({error})") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ImportMistake(f"module {name!r} cannot be imported: {_told(error)}") from None


@contextlib.contextmanager
def _going_on() -> Iterator[None]:
    """``os._exit`` raises meanwhile, in this process: one that the module forks may end so."""
    process, leave, importing = os.getpid(), os._exit, threading.get_ident()
    ended: list[int] = []

    def refuse(status: int) -> NoReturn:
        if os._exit is not refuse:  # the import is over, and the module has kept what stood there
            os._exit(status)
        if os.getpid() != process:
            leave(status)
        ended.append(status)
        if threading.get_ident() != importing:
            raise SystemExit(status)  # which ends a thread without a word
        raise _Ended(status)

    os._exit = refuse
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        if not ended:  # else it followed from that
            raise
    finally:
        os._exit = leave
    if ended:
        raise _Ended(ended[0])


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else ""
