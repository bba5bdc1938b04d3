"""Which checkpointers are built in, and where each is defined; found by name, imported when asked for.

Guarantees: `get` imports the module that it is asked for, and nothing else does.  Every mistake is one ScenarioError.
Not covered: whether a checkpointer can run here (`faultkit.checkpointers.requirements`).
"""

from __future__ import annotations

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.requirements import require
from faultkit.exceptions import ScenarioError
from faultkit.messages import seen
from faultkit.scenario_text import Names, values_of
from faultkit.scenario_text import find as find_named

__all__ = ["BUILT_IN", "find", "get"]

BUILT_IN = Names(
    "checkpointer",
    {
        "dcp": "faultkit.checkpointers.engines.dcp:DCP",
        "dcp-async": "faultkit.checkpointers.engines.dcp_async:DCP_ASYNC",
        "dcp-async-process": "faultkit.checkpointers.engines.dcp_async_process:DCP_ASYNC_PROCESS",
        "dcp-cached": "faultkit.checkpointers.engines.dcp_cached:DCP_CACHED",
        "dcp-fsspec": "faultkit.checkpointers.engines.dcp_fsspec:DCP_FSSPEC",
        "dcp-fsspec-memory": "faultkit.checkpointers.engines.dcp_fsspec:DCP_FSSPEC_MEMORY",
        "dcp-fsspec-s3": "faultkit.checkpointers.engines.dcp_fsspec:DCP_FSSPEC_S3",
        "dcp-convert": "faultkit.checkpointers.engines.dcp_convert:DCP_CONVERT",
        "dcp-hf": "faultkit.checkpointers.engines.dcp_hf:DCP_HF",
        "dcp-s3": "faultkit.checkpointers.engines.dcp_s3:DCP_S3",
        "dcp-rank-local": "faultkit.checkpointers.engines.dcp_rank_local:DCP_RANK_LOCAL",
        "dcp-state-dict": "faultkit.checkpointers.engines.dcp_state_dict:DCP_STATE_DICT",
        "reference": "faultkit.checkpointers.engines.reference:REFERENCE",
        "safetensors": "faultkit.checkpointers.engines.safetensors_files:SAFETENSORS",
        "torch-checkpointing": "faultkit.checkpointers.engines.torch_checkpointing:TORCH_CHECKPOINTING",
        "torch-checkpointing-async": "faultkit.checkpointers.engines.torch_checkpointing:TORCH_CHECKPOINTING_ASYNC",
        "torch-save": "faultkit.checkpointers.engines.torch_save:TORCH_SAVE",
    },
)


def get(text: str) -> Checkpointer:
    """The checkpointer that `text` names, with the options behind it, which can run here.

    Raises ScenarioError, which tells the nearest name there is, or what is not installed.
    """
    found = find(text)
    require(found)
    return found


def find(text: str) -> Checkpointer:
    """The same, also where it cannot run."""
    name, found, options = find_named(text, BUILT_IN)
    if hasattr(found, "to_checkpointer"):  # a `Trainer`, which this module cannot know
        found = found.to_checkpointer()
    if not isinstance(found, Checkpointer):
        raise ScenarioError(f"checkpointer {seen(name)} must be a faultkit.Checkpointer (got {seen(found)})")
    return found.with_options(**values_of(options, dict(found.options)))
