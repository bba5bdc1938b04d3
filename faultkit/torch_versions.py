"""Which torch faultkit works with: the versions of `pyproject.toml`, asked before any rank is started.

What stands in torch's place on simulated ranks, and the hooks on the engine, rest on names that are private to torch.
On a version that was never tried they may be gone or mean something else, and then a failure of faultkit would be told
as one of the code under test.  So there faultkit does not start.  Nothing here imports torch.

Not covered: builds that were changed by others under a version that is in the range.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re

from faultkit.exceptions import TorchVersionError

__all__ = ["BELOW", "FROM", "require_torch", "torch_version"]

FROM = (2, 12)
BELOW = (2, 15)


@functools.cache
def require_torch() -> None:
    """Raises TorchVersionError, in one line, where there is no torch or one out of the range."""
    installed = torch_version() or "none"
    release = re.match(r"(\d+)\.(\d+)", installed)
    if release is None or not FROM <= (int(release[1]), int(release[2])) < BELOW:
        raise TorchVersionError(
            f"torch must be {_text(FROM)} or later and older than {_text(BELOW)} (got {installed}); for example: "
            f"pip install 'torch>={_text(FROM)},<{_text(BELOW)}'"
        )


def torch_version() -> str:
    """The version of the installed torch, without importing it; empty where there is none."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
