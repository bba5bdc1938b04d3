"""What `faultkit check` finds in every built-in checkpointer on the torch that is installed, and the page of all such.

    python docs/findings/collect.py                    check all, store the cards, render the page
    python docs/findings/collect.py --only dcp ...     those alone
    python docs/findings/collect.py --render           render docs/findings.md from the cards that are stored

Guarantees: a card is stored whole or not at all, as `faultkit check --json` writes it; a checkpointer that cannot run
here is stored as the reason, and where faultkit itself fails nothing is.  Not covered: versions of torch that are not
installed (``make findings TORCH=...``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "findings.md"
BUDGET_SECONDS = 120.0
WORLD = 2
WORLDS = {"dcp-fsspec-memory": 1}  # its store is one process's
BROKEN, CANNOT_RUN = 1, 2  # exit statuses
LIMIT_SECONDS = 300.0  # beyond the budget


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--budget", type=float, default=BUDGET_SECONDS, metavar="SECONDS")
    arguments = parser.parse_args()
    if not arguments.render:
        _collect(arguments.only, arguments.budget)
    sys.path.insert(0, str(HERE))
    import render

    PAGE.write_text(render.page(sorted(HERE.glob("torch-*/*.json"))))
    return 0


def _collect(only: list[str], budget: float) -> None:
    from faultkit.checkpointers.catalogue import BUILT_IN
    from faultkit.torch_versions import torch_version

    folder = HERE / f"torch-{torch_version().partition('+')[0]}"
    folder.mkdir(exist_ok=True)
    for name in only or BUILT_IN.homes:
        path = folder / f"{name}.json"
        print(f"{name} ...", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "faultkit", "check", name, "--budget", f"{budget:g}",
             "--world", str(WORLDS.get(name, WORLD)), "--json", str(path)],
            text=True, capture_output=True, timeout=budget + LIMIT_SECONDS, check=False,
        )  # fmt: skip
        told = (done.stdout if done.returncode <= BROKEN else done.stderr).strip().splitlines()[-1:]
        if done.returncode == CANNOT_RUN:
            path.write_text(json.dumps({"checkpointer": name, "cannot_run": told[0]}, indent=1) + "\n")
        elif done.returncode <= BROKEN:
            card = json.loads(path.read_text())
            card.pop("made", None)  # the card has the day and the versions; of the machine nothing follows
            path.write_text(json.dumps(card, indent=1) + "\n")
        else:
            sys.exit(f"{name}: status {done.returncode}; its card is as it was\n{done.stderr}")
        print(*told, flush=True)


if __name__ == "__main__":
    sys.exit(main())
