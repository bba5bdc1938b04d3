"""Lays out what the site is made of: README, docs/ and examples/ as they lie, and pages of the reference.

    python docs/site_pages.py PLACE       # `make docs` does, and builds the site from it

Guarantees: nothing is imported; which names are public stands in the packages' own `__all__`, what they say in their
docstrings.  Not covered: the commands, which `docs/command-line.md` tells.
"""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE")
FOLDERS = ("docs", "examples")

# The packages that people import from, in the order of the one path.
PACKAGES = (
    "plan worlds checkpointers scenarios checks strategies sweep crash damage history resume growth reshard scale "
    "conformance testing evidence recording"
).split()
OF_MODULE = "    options: { members: false, show_root_heading: false }\n"
OPTIONS = "    options: { show_root_heading: true, heading_level: 2 }\n"


def public(package: str) -> list[str]:
    """What stands in the `__all__` of a package or module of faultkit, but for earlier names of the same."""
    path = ROOT / "faultkit" / package
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    named: list[str] = []
    earlier: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == "__all__":
                    named = ast.literal_eval(node.value)
                elif isinstance(node.value, (ast.Name, ast.Tuple)):
                    names = target.elts if isinstance(target, ast.Tuple) else [target]
                    earlier |= {name.id for name in names if isinstance(name, ast.Name)}
    return [name for name in named if not name.startswith("_") and name not in earlier]


def modules() -> set[str]:
    return {path.stem for path in (ROOT / "faultkit").iterdir()}


def lay_out(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for page in PAGES:
        shutil.copy(ROOT / page, place / page)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__", "*.json"))
    reference = place / "reference"
    reference.mkdir()
    top = [name for name in public("") if name not in modules()]
    (reference / "README.md").write_text(
        "# Reference\n\nMade from the docstrings. [The command line](../docs/command-line.md), "
        "[the plan grammar](../docs/plan-grammar.md) and [the checks](../docs/checks.md) have pages of their own.\n\n"
        + "".join(f"* [faultkit.{package}]({package}.md)\n" for package in PACKAGES)
        + "\n"
        + "".join(f"::: faultkit.{name}\n{OPTIONS}\n" for name in top)
    )
    for package in PACKAGES:
        names = [name for name in public(package) if not (ROOT / "faultkit" / package / name).exists()]
        (reference / f"{package}.md").write_text(
            f"# faultkit.{package}\n\n::: faultkit.{package}\n{OF_MODULE}\n"
            + "".join(f"::: faultkit.{package}.{name}\n{OPTIONS}\n" for name in names)
        )


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
