"""Stagers: who copies the state aside before an asynchronous save goes on without the job.

    writer      what `async_save` takes where nothing is said: the stock writer copies, and waits for it
    blocking    `BlockingAsyncStager`
    default     `DefaultStager`: by a thread of its own, into shared or pinned memory, as options say
    custom      one of a user's own, by the documented protocol: copies with `copy.deepcopy`

Guarantees: a stager that is not reused belongs to one save.  Imports torch only when one is made.
Not covered: copies that do not block (``use_non_blocking_copy``) and a cached copy (``cache_staged_state_dict``), which
the engine refuses without an accelerator; memory is pinned only where there is CUDA, elsewhere the engine warns.
"""

from __future__ import annotations

import copy
from typing import Any

from faultkit.checkpointers.parts.choices import refusal

__all__ = ["OPTIONS", "STAGERS", "check", "make"]

STAGERS = ("writer", "blocking", "default", "custom")
OPTIONS: tuple[tuple[str, str | bool], ...] = (
    ("stager", "writer"),
    ("async_staging", False),
    ("shared_memory", False),
    ("pinned_memory", False),
    ("reuse_stager", False),
    ("wait_staging", True),
)


def check(
    stager: str = "writer",
    async_staging: bool = False,
    shared_memory: bool = False,
    pinned_memory: bool = False,
    reuse_stager: bool = False,
    wait_staging: bool = True,
    **_: object,
) -> str:
    """What is wrong with the options, in one line."""
    wrong = refusal("stager", stager, STAGERS)
    if wrong:
        return wrong
    of_default = {
        "async_staging": async_staging,
        "shared_memory": shared_memory,
        "pinned_memory": pinned_memory,
    }
    for name, chosen in of_default.items():
        if chosen and stager != "default":
            return f"{name} is an option of DefaultStager and needs stager=default (got stager={stager})"
    if reuse_stager and stager == "writer":
        return "reuse_stager needs a stager of its own, such as stager=default (got stager=writer)"
    if not wait_staging and not async_staging:
        return "wait_staging=false needs a stager that does not block: stager=default,async_staging=true"
    return ""


def make(stager: str, async_staging: bool, shared_memory: bool, pinned_memory: bool) -> Any:
    """The stager of these options; None where the writer is to do it."""
    from torch.distributed.checkpoint import staging

    if stager == "writer":
        return None
    if stager == "blocking":
        return staging.BlockingAsyncStager()
    if stager == "default":
        return staging.DefaultStager(
            staging.StagingOptions(
                use_pinned_memory=pinned_memory,
                use_shared_memory=shared_memory,
                use_async_staging=async_staging,
                use_non_blocking_copy=False,
            )
        )
    return Copying()


class Copying:
    """A stager of a user's own, as ``torch.distributed.checkpoint.staging.AsyncStager`` says one is written."""

    _synchronize_after_execute = True

    def __init__(self) -> None:
        self._is_staged = False

    @property
    def should_synchronize_after_execute(self) -> bool:
        return self._synchronize_after_execute

    def stage(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        self._is_staged = False
        staged = copy.deepcopy(state_dict)
        self._is_staged = True
        return staged

    def synchronize_staging(self) -> None:
        if not self._is_staged:
            raise RuntimeError("staging has not ended")

    def close(self) -> None:
        self._is_staged = False
