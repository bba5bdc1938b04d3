"""The command ``faultkit``, and ``python -m faultkit``: from its first line on, a signal ends it in one line."""

from __future__ import annotations

import gc
from typing import NoReturn

from faultkit import endings

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    endings.install()
    endings.refuse()
    from faultkit.cli import main as run

    try:
        run()
    except SystemExit as ended:
        endings.keep(ended.code if isinstance(ended.code, int) else 0)
        gc.freeze()  # taking torch apart takes a second, where a scenario has imported it here
        raise


if __name__ == "__main__":
    main()
