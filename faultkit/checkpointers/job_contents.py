"""What a job holds, found in it: models, optimizers, schedulers, scalers, random states, counters.  Imports torch.

    torch.nn.Module              parameters and buffers, by name; what is frozen, and what is in evaluation mode
    torch.optim.Optimizer        state of each parameter, and options of each group
    LRScheduler, GradScaler      their `state_dict`
    other stateful objects       their `state_dict`: data loaders, samplers
    DataLoader                   its sampler, dataset and generator; `epoch` of samplers
    random.Random, generators    their state
    tensors and arrays           wherever they lie in the job
    numbers and texts            of the job itself, and in its dicts, lists, dataclasses and namespaces

The first three must be right as soon as a load has come back; the rest, which a job may restore when it first needs it,
after the first step.  A wrapper's prefix is left out of names, and a parameter that several models have is told once.

Guarantees: nothing is changed, drawn or communicated.
Not covered: what only closures, generators, C++ or other processes hold, random states of accelerators, and objects
deeper than `DEPTH_MAX`.
"""

from __future__ import annotations

import dataclasses
import random
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from faultkit.state_values import leaves_of, tensor_of

__all__ = ["Found", "found_in", "gradients_in"]

DEPTH_MAX = 4
PARTS_MAX = 1_000  # of one list or dict of the job
WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
OF_SCHEDULERS = frozenset(  # what is counted for warnings alone
    {"_step_count", "_get_lr_called_within_step", "_is_initial", "verbose"}
)
OPAQUE = (
    "torch",
    "numpy",
    "threading",
    "multiprocessing",
    "logging",
    "concurrent",
    "queue",
    "pathlib",
    "types",
)


class Found(NamedTuple):
    name: str
    value: Any
    is_held: bool


# -- of a job ----------------------------------------------------------------------------------------------


def found_in(job: Any) -> Iterator[Found]:
    """Everything of the table above."""
    objects = list(_objects(job, "", 0, set()))
    names: dict[int, str] = {}
    for path, value in objects:
        if isinstance(value, nn.Module):
            yield from _of_module(path, value, names)
    for path, value in objects:
        if not isinstance(value, nn.Module):
            yield from _of_object(path, value, names)


def gradients_in(job: Any) -> Iterator[torch.Tensor]:
    """The gradients that are there and not all zero."""
    for _, value in _objects(job, "", 0, set()):
        for parameter in value.parameters() if isinstance(value, nn.Module) else ():
            own = None if parameter.grad is None else tensor_of(parameter.grad)
            if own is not None and bool(torch.count_nonzero(own)):
                yield parameter.grad


def _objects(value: Any, path: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Each thing in the job that `_of_module` or `_of_object` knows, with where it lies."""
    if _is_plain(value):
        yield path, value
        return
    if id(value) in seen or depth > DEPTH_MAX:
        return
    seen.add(id(value))
    if depth and _is_known(value):
        yield path, value
        if isinstance(value, torch.utils.data.DataLoader):
            for name in ("sampler", "batch_sampler", "dataset", "generator"):
                yield from _objects(getattr(value, name, None), f"{path}.{name}", depth + 1, seen)
        return
    if not depth and isinstance(value, nn.Module):
        yield "model", value
        return
    for name, part in _parts(value):
        keeps_numbers = not depth or _is_record(value)
        if keeps_numbers or not _is_plain(part) or isinstance(part, torch.Tensor | np.ndarray):
            yield from _objects(
                part, f"{path}{'.' if path and name[0] != '[' else ''}{name}", depth + 1, seen
            )


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(str(key) or "''", part) for key, part in list(value.items())[:PARTS_MAX]]
    if isinstance(value, list | tuple):
        return [(f"[{place}]", part) for place, part in enumerate(value[:PARTS_MAX])]
    module = type(value).__module__.partition(".")[0]
    if isinstance(value, types.ModuleType | type) or (callable(value) and not hasattr(value, "__dict__")):
        return []
    if module in OPAQUE and not isinstance(value, types.SimpleNamespace | torch.utils.data.Sampler):
        return []
    return list(getattr(value, "__dict__", {}).items())[:PARTS_MAX]


def _is_record(value: Any) -> bool:
    return isinstance(value, dict | list | tuple | types.SimpleNamespace | torch.utils.data.Sampler) or (
        dataclasses.is_dataclass(value)
    )


def _is_plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray | np.generic | bool | int | float | str | bytes)


def _is_known(value: Any) -> bool:
    return isinstance(
        value,
        nn.Module
        | torch.optim.Optimizer
        | torch.optim.lr_scheduler.LRScheduler
        | torch.utils.data.DataLoader
        | torch.Generator
        | random.Random
        | np.random.Generator
        | np.random.RandomState,
    ) or _is_stateful(value)


def _is_stateful(value: Any) -> bool:
    return callable(getattr(value, "state_dict", None)) and not isinstance(value, type)


def _of_module(path: str, module: nn.Module, names: dict[int, str]) -> Iterator[Found]:
    module = _unwrapped(module)
    frozen, passing = [], [name or "all" for name, part in module.named_modules() if not part.training]
    for name, parameter in module.named_parameters():
        if id(parameter) not in names:
            plain = _without_wrappers(name)
            names[id(parameter)] = plain
            yield Found(f"{path}.{plain}", parameter, True)
            if not parameter.requires_grad:
                frozen.append(plain)
    for prefix, part in module.named_modules():
        for name, buffer in part.named_buffers(recurse=False):
            is_stored = name not in part._non_persistent_buffers_set
            yield Found(_without_wrappers(f"{path}.{prefix}{'.' if prefix else ''}{name}"), buffer, is_stored)
    yield Found(f"{path}.frozen", ", ".join(frozen), False)
    yield Found(f"{path}.in_evaluation_mode", ", ".join(passing), False)


def _of_object(path: str, value: Any, names: dict[int, str]) -> Iterator[Found]:
    if _is_plain(value):
        yield Found(path, value, False)
    elif isinstance(value, torch.optim.Optimizer):
        yield from _of_optimizer(path, value, names)
    elif isinstance(value, torch.optim.lr_scheduler.LRScheduler | torch.amp.GradScaler):
        yield from _of_state(path, value, True)
    elif isinstance(value, torch.Generator):
        yield Found(path, value.get_state(), False)
    elif isinstance(value, random.Random):
        yield Found(path, repr(value.getstate()), False)
    elif isinstance(value, np.random.Generator):
        yield Found(path, repr(value.bit_generator.state), False)
    elif isinstance(value, np.random.RandomState):
        yield Found(path, repr(value.get_state(legacy=False)), False)
    elif _is_stateful(value):
        yield from _of_state(path, value, False)


def _of_optimizer(path: str, optimizer: torch.optim.Optimizer, names: dict[int, str]) -> Iterator[Found]:
    number = 0
    for place, group in enumerate(optimizer.param_groups):
        for key, value in group.items():
            if key != "params":
                yield from (
                    Found(f"{path}.groups[{place}].{name}", leaf, True)
                    for name, leaf in leaves_of(value, str(key))
                )
        for parameter in group["params"]:
            of = names.get(id(parameter), f"parameter {number}")
            number += 1
            for key, value in optimizer.state.get(parameter, {}).items():
                yield Found(f"{path}.{key}[{of}]", value, True)


def _of_state(path: str, value: Any, is_held: bool) -> Iterator[Found]:
    try:
        state = value.state_dict()
    except Exception as error:
        state = f"raises {type(error).__name__}"
    for name, leaf in leaves_of(state):
        if name.rpartition(".")[2] not in OF_SCHEDULERS:
            yield Found(f"{path}.{name}", leaf, is_held)


def _unwrapped(module: nn.Module) -> nn.Module:
    while isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel):
        module = module.module
    return module


def _without_wrappers(name: str) -> str:
    for prefix in WRAPPERS:
        name = name.replace(prefix, "")
    return name
