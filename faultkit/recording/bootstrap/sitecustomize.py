"""Starts the recorder in every Python interpreter of a recorded command, before the command's own first line.

The interpreter imports this at its start because the directory stands first in PYTHONPATH.  It takes itself out of
the way, starts recording, and imports the `sitecustomize` that would have been imported without it.
"""

import importlib
import os
import sys


def _start() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    home = os.environ.get("FAULTKIT_RECORD_HOME", "")
    added = bool(home) and home not in sys.path
    if added:
        sys.path.append(home)  # an interpreter that does not have the package itself
    try:
        from faultkit.recording import in_command

        in_command.start()
    except ImportError as error:
        sys.stderr.write(f"faultkit: this interpreter cannot record ({error})\n")
    finally:
        if added:
            sys.path.remove(home)
        this = sys.modules.pop("sitecustomize")
        try:
            importlib.import_module("sitecustomize")
        except ImportError:
            sys.modules["sitecustomize"] = this


if __name__ == "sitecustomize":
    _start()
