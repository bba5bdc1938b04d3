"""What a job holds and draws from, as values that travel: `values_of`, `gradients_of`, `streams`.  Imports torch.

Guarantees: nothing is changed or drawn, and nothing communicated unless `is_whole` asks for what all ranks have
together.  Not covered: what there is to be found in a job (`faultkit.checkpointers.job_contents`).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from faultkit.checkpointers.job_contents import Found, gradients_in
from faultkit.messages import shortened
from faultkit.resume.marks import Value
from faultkit.state_values import bytes_of, tensor_of

__all__ = ["STREAMS", "digest_of", "gradients_of", "streams", "value_of", "values_of"]

WHOLE_ELEMENTS_MAX = 1 << 16
TOLD_CHARACTERS = 40
STREAMS = ("python", "numpy", "torch")


def gradients_of(job: Any) -> str:
    """A checksum of the gradients that are there; empty where there is none."""
    digests = [digest_of(gradient) for gradient in gradients_in(job)]
    return _digest(*digests) if digests else ""


def streams() -> dict[str, str]:
    """A checksum of each random state of this process."""
    return {
        "python": _digest(repr(random.getstate())),
        "numpy": _digest(*(np.asarray(part).tobytes() for part in np.random.get_state())),
        "torch": _digest(torch.get_rng_state().numpy().tobytes()),
    }


def values_of(found: Iterable[Found], is_whole: bool) -> dict[str, Value]:
    """Each of them by name, as it travels; what has no value that can be compared is left out."""
    values: dict[str, Value] = {}
    with torch.no_grad():
        for name, value, is_held in found:
            made = value_of(value, is_held, is_whole)
            if made is not None:
                values[name] = made
    return values


def value_of(value: Any, is_held: bool = False, is_whole: bool = False) -> Value | None:
    """`value` as it travels; None where it cannot be compared, as a function."""
    tensor = tensor_of(value)
    if tensor is None:
        if not isinstance(value, bool | int | float | str | bytes | complex | type(None) | np.generic):
            return None
        text = repr(value)
        digest = _digest(type(value).__name__, text)
        numbers = np.float64(value).tobytes() if is_whole and isinstance(value, int | float) else b""
        return Value(digest, shortened(text, TOLD_CHARACTERS), is_held, digest if is_whole else "", numbers)
    told = repr(tensor.item()) if tensor.numel() == 1 and not tensor.is_quantized else ""
    made = Value(digest_of(tensor), told, is_held)
    if not is_whole:
        return made
    full = value.full_tensor().cpu() if hasattr(value, "full_tensor") else tensor
    numbers = b""
    if full.numel() <= WHOLE_ELEMENTS_MAX and not full.is_complex() and not full.is_quantized:
        numbers = full.detach().to(torch.float64).contiguous().numpy().tobytes()
    return Value(made.digest, told, is_held, digest_of(full), numbers)


def digest_of(value: Any) -> str:
    """A checksum of what this rank has of a tensor, with its type and shape."""
    tensor = tensor_of(value)
    assert tensor is not None
    return _digest(str(tensor.dtype), str(tuple(tensor.shape)), bytes_of(tensor).numpy().tobytes())


def _digest(*parts: str | bytes) -> str:
    made = hashlib.blake2b(digest_size=8)
    for part in parts:
        made.update(part.encode() if isinstance(part, str) else part)
    return made.hexdigest()
