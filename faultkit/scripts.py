"""The earlier name of `faultkit.crash.scripts`."""

from faultkit.crash.scripts import *  # noqa: F403
