"""``python -m faultkit.cli`` is the ``faultkit`` command."""

from __future__ import annotations

from faultkit.cli import main

if __name__ == "__main__":
    main()
