"""Makes the picture of the README: what a command prints on a terminal, as SVG.

    python docs/capture.py          # writes docs/first-finding.svg
    python docs/capture.py PLACE

Guarantees: the command runs on real ranks, here and now, what is drawn is what it printed, and the picture needs no
network.  Not covered: commands that wait for input.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "docs" / "first-finding.svg"
FOLDER = ROOT / "examples" / "checkpoint_manager"
SHOWN = "faultkit sweep hangs:MANAGER --world 2 --points 'fs.*'"
SECONDS_MAX = 120.0
COLUMNS = 88
LINES_MAX = 20


def printed() -> str:
    """What the command prints on a terminal, with its colours."""
    done = subprocess.run(
        [sys.executable, "-m", "faultkit", "sweep", "hangs:MANAGER", "--world", "2", "--points", "fs.*"],
        cwd=FOLDER,
        env=os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "FAULTKIT_PROGRESS": "0"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS_MAX,
    )
    if done.returncode != 1:
        raise SystemExit(f"capture: a violation was expected, exit status 1 (got {done.returncode})")
    return done.stdout


def picture(text: str) -> str:
    """The first lines of `text` below the command."""
    console = Console(
        record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text(f"$ {SHOWN}", "bold"))
    for line in text.splitlines()[:LINES_MAX]:
        console.print(Text.from_ansi(line))
    # rich points at fonts on a server of others; any monospaced font does
    without_fonts = re.sub(r"@font-face\s*\{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(
        title="rank 0 cannot write, the others wait for ever", code_format=without_fonts, unique_id="faultkit"
    )


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else PLACE
    place.write_text(picture(printed()), encoding="utf-8")
