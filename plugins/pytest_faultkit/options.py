"""The command line: what ``--faultkit-...`` says, read once and checked before anything is collected."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from faultkit.plan import FaultPlan, PlanError

__all__ = ["replay_plan", "validate"]

_FOREIGN_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def validate(config: pytest.Config) -> None:
    """Raises pytest.UsageError for an option that cannot be meant."""
    timeout = config.getoption("faultkit_timeout")
    if timeout is not None and not 0 < timeout <= 86_400:
        raise pytest.UsageError(
            f"--faultkit-timeout must be a number of seconds above 0 and at most 86400 (got {timeout:g})"
        )
    report = config.getoption("faultkit_report")
    if report is not None:
        if not report or Path(report).is_dir():
            raise pytest.UsageError(f"--faultkit-report must name a file (got {report!r})")
        above = next(folder for folder in Path(report).absolute().parents if folder.exists())
        if not above.is_dir():
            raise pytest.UsageError(f"--faultkit-report {report}: {above} is not a directory")
    replay = config.getoption("faultkit_replay")
    if replay is not None:
        try:
            # Whether an exception type is allowed, each test's own `allow` says; here only the grammar.
            replay_plan(config, tuple(_FOREIGN_NAME.findall(_text(replay))))
        except (OSError, UnicodeDecodeError, PlanError) as error:
            raise pytest.UsageError(f"--faultkit-replay: {error}") from None


def replay_plan(config: pytest.Config, allow: Any = ()) -> FaultPlan | None:
    """The plan that replaces those of the markers, None where the option is not given.  Raises PlanError."""
    given = config.getoption("faultkit_replay")
    if given is None:
        return None
    text = _text(given)
    return FaultPlan.from_json(text, allow) if text.startswith(("{", "[")) else FaultPlan.parse(text, allow)


def _text(given: str) -> str:
    """The plan as text: `given` itself, or what the file of that name holds."""
    try:
        is_file = Path(given).is_file()
    except (OSError, ValueError):  # longer than a name may be, or with a null character: a plan, then
        is_file = False
    text = Path(given).read_text(encoding="utf-8") if is_file else given
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")).strip()
