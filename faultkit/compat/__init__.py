"""Old checkpoints still load: a stored checkpoint, the digest beside it, and what is installed.

digest       what a checkpoint holds, as a value with a text that anybody may have written
ranks        what processes do: save one, and read one with the engine's own classes alone
comparing    the two commands, ``faultkit compat DIR`` and ``faultkit compat DIR --write``
"""

from __future__ import annotations
