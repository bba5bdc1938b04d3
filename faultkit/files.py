"""The earlier name of `faultkit.recording`."""

from faultkit.recording import *  # noqa: F403
