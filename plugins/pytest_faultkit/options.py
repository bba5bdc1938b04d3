"""The command line: what ``--faultkit-...`` says, read once and checked before anything is collected."""

from __future__ import annotations

import re
import tempfile
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
    if report is not None and (refusal := _refusal_of_report(report)):
        raise pytest.UsageError(refusal)
    _validate_known(config)
    replay = config.getoption("faultkit_replay")
    if replay is not None:
        try:
            # Whether an exception type is allowed, each test's own `allow` says; here only the grammar.
            replay_plan(config, tuple(_FOREIGN_NAME.findall(_text(replay))))
        except (OSError, UnicodeDecodeError, PlanError) as error:
            raise pytest.UsageError(f"--faultkit-replay: {error}") from None


def _validate_known(config: pytest.Config) -> None:
    names, path = config.getoption("faultkit_known"), config.getoption("faultkit_write_known")
    if not names and path is None:
        return
    from faultkit.exceptions import KnownError
    from faultkit.known.writing import refusal_to_add
    from faultkit.report.output import refusal_of
    from pytest_faultkit import known

    try:
        known.entries_of(config)
    except KnownError as error:
        raise pytest.UsageError(f"--faultkit-known: {error}") from None
    if path is not None and (why := refusal_of({"--faultkit-write-known": path}) or refusal_to_add(path)):
        raise pytest.UsageError(why.replace("--write-known", "--faultkit-write-known"))


def _refusal_of_report(path: str) -> str:
    """Why no report can be written to `path`, whose folder may have to be made; empty where one can."""
    from faultkit.report import output

    try:
        if not path or Path(path).is_dir():
            return f"--faultkit-report must name a file (got {path!r})"
        folder = Path(path).absolute().parent
        above = next(one for one in (folder, *folder.parents) if one.exists())
    except (OSError, ValueError):  # a name that no file can have
        return output.refusal_of({"--faultkit-report": path})
    if not above.is_dir():
        return f"--faultkit-report must lie in a directory (got {path!r}: {str(above)!r} is none)"
    if refusal := output.refusal_of(
        {"--faultkit-report": path if above == folder else str(above / "report")}
    ):
        return refusal
    if Path(path).exists() and not Path(path).is_file():
        return ""  # a pipe or a device, which is written to as it is
    try:
        with tempfile.TemporaryFile(dir=above):
            return ""
    except OSError as error:
        return (
            f"--faultkit-report must lie in a directory that can be written (got {path!r}: {error.strerror})"
        )


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
