"""Whether a checkpointer can run here: what it requires, and what of that is missing.

Guarantees: nothing is imported to find out; each thing that is missing is one line with the command that installs it.
Not covered: servers, which are started by whoever runs the checkpointer (`Checkpointer.server`).
"""

from __future__ import annotations

import importlib.metadata

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.exceptions import ScenarioError
from faultkit.messages import seen

__all__ = ["missing", "require"]


def missing(checkpointer: Checkpointer) -> tuple[str, ...]:
    """What `checkpointer` requires and is not installed, each in words; empty where it can run.

    Raises ScenarioError for a requirement that is none.
    """
    return tuple(filter(None, (_missing(checkpointer, text) for text in checkpointer.requires)))


def require(checkpointer: Checkpointer) -> None:
    """Raises ScenarioError where something that `checkpointer` requires is not installed."""
    for why in missing(checkpointer):
        wanted = f"faultkit[{checkpointer.extra}]" if checkpointer.extra else why.partition(",")[0]
        raise ScenarioError(
            f"checkpointer {checkpointer.name!r} requires {why}; install it by: pip install '{wanted}'"
        )


def _missing(checkpointer: Checkpointer, text: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement  # for those alone who ask

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise ScenarioError(
            f"checkpointer {checkpointer.name!r}: requires must hold distributions, such as 'safetensors>=0.4' "
            f"(got {seen(text)})"
        ) from None
    if requirement.marker is not None and not requirement.marker.evaluate():
        return ""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{text}, which is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{text}, and {version} is installed"
    return ""
