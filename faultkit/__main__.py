"""``python -m faultkit``: the command line."""

from __future__ import annotations

from faultkit.cli import main

if __name__ == "__main__":
    main()
