"""A small training job: a model of two layers and a buffer, AdamW with two groups, and a scheduler.

Guarantees: `state_after` says all that the job has after so many steps, as a nested dict of whole tensors and numbers;
`fill` puts that into the job, `give` takes it out, without a collective but to gather shards.  Imports torch: for ranks
only.  Not covered: training itself; the numbers are made up, so that every one differs from step to step.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from faultkit.checkpointers.parts.kept import kept
from faultkit.checkpointers.state_kinds import values

__all__ = ["Application", "state_after"]

SHAPES = {"0.weight": (5, 3), "0.bias": (5,), "1.weight": (2, 5), "1.bias": (2,)}
BUFFER = "seen"
FROZEN = ("0.weight", "0.bias")
MOMENTS = ("exp_avg", "exp_avg_sq")
RATES = (0.25, 0.5)  # of the group of matrices and of that of vectors
DECAYS = (0.125, 0.0)
SCALE = 1 / 64  # of all that is made up, which so stays exact and small


def state_after(step: int, frozen: bool) -> dict[str, Any]:
    """What the job has after `step` steps."""
    trained = [name for name in SHAPES if not (frozen and name in FROZEN)]
    model = {name: _numbers(shape, step, 100 * place) for place, (name, shape) in enumerate(SHAPES.items())}
    moments = {
        kind: {
            name: _numbers(SHAPES[name], step, 500 + 500 * number + 50 * place)
            for place, name in enumerate(trained)
        }
        for number, kind in enumerate(MOMENTS)
    }
    return {
        "model": {**model, BUFFER: _numbers((3,), step, 1900)},
        "optimizer": {
            **moments,
            "step": {name: torch.tensor(float(step)) for name in trained},
            "rates": _rates(step),
        },
        "scheduler": {"last_epoch": step, "rates": _rates(step)},
    }


class Application:
    """The job of this rank; what it has is that of no step until it is filled."""

    def __init__(self, wrap: str, frozen: bool) -> None:
        self.inner = _Model()
        for name, parameter in self.inner.named_parameters():
            parameter.requires_grad_(not (frozen and name in FROZEN))
        self.model = _wrapped(self.inner, wrap)
        named = [*self.inner.named_parameters()]
        groups = [[one for name, one in named if name.endswith(kind)] for kind in ("weight", "bias")]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": group, "lr": rate, "weight_decay": decay}
                for group, rate, decay in zip(groups, RATES, DECAYS, strict=True)
            ]
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, _factor)

    def fill_model(self, state: dict[str, Any]) -> None:
        """Give the model the values of `state`."""
        with torch.no_grad():
            for name, parameter in self.inner.named_parameters():
                parameter.copy_(_like(parameter, state["model"][name]))
            self.inner.seen.copy_(state["model"][BUFFER])

    def fill(self, state: dict[str, Any]) -> None:
        """Give model, optimizer and scheduler the values of `state`."""
        self.fill_model(state)
        optimizer = state["optimizer"]
        for name, parameter in self.inner.named_parameters():
            if name not in optimizer["step"]:
                continue
            self.optimizer.state[parameter] = {
                "step": optimizer["step"][name].clone(),
                **{kind: _like(parameter, optimizer[kind][name]) for kind in MOMENTS},
            }
        for group, rate in zip(self.optimizer.param_groups, optimizer["rates"], strict=True):
            group["lr"] = rate
        self.scheduler.last_epoch = state["scheduler"]["last_epoch"]
        self.scheduler._last_lr = [*state["scheduler"]["rates"]]

    def give(self, state: dict[str, Any]) -> None:
        """Put into `state` what the job has."""
        state["model"] = {name: _whole(one) for name, one in self.inner.named_parameters()}
        state["model"][BUFFER] = _whole(self.inner.seen)
        state["optimizer"] = {
            kind: {
                name: _whole(self.optimizer.state[one][kind])
                for name, one in self.inner.named_parameters()
                if self.optimizer.state.get(one)
            }
            for kind in (*MOMENTS, "step")
        }
        state["optimizer"]["rates"] = [group["lr"] for group in self.optimizer.param_groups]
        scheduler = self.scheduler
        state["scheduler"] = {"last_epoch": scheduler.last_epoch, "rates": [*scheduler.get_last_lr()]}


class _Model(nn.Sequential):
    seen: torch.Tensor

    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 5), nn.Linear(5, 2))
        self.register_buffer(BUFFER, torch.zeros(3))


def _wrapped(model: nn.Module, wrap: str) -> nn.Module:
    if wrap == "ddp" and dist.is_initialized():
        return nn.parallel.DistributedDataParallel(model)
    if wrap == "fsdp2" and dist.is_initialized():
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = kept("mesh of the job", lambda: init_device_mesh("cpu", (dist.get_world_size(),)))
        for layer in model.children():
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    return model


def _like(parameter: Any, whole: torch.Tensor) -> Any:
    """What this rank has of `whole`, where it is spread as `parameter` is."""
    if not hasattr(parameter, "placements"):
        return whole.clone()
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)


def _whole(value: Any) -> torch.Tensor:
    whole: torch.Tensor = value.detach()
    return (whole.full_tensor() if hasattr(whole, "full_tensor") else whole).clone()


def _numbers(shape: tuple[int, ...], step: int, first: int) -> torch.Tensor:
    return values(shape, "float32", step, first) * SCALE


def _factor(step: int) -> float:
    return float(0.5 ** (step % 32))


def _rates(step: int) -> list[float]:
    return [rate * _factor(step) for rate in RATES]
