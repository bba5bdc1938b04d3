"""What is found in a job."""

import dataclasses
import random
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from faultkit.checkpointers.job_contents import found_in
from faultkit.resume.valuing import gradients_of, streams, value_of, values_of


@dataclasses.dataclass
class Progress:
    tokens: int = 5
    name: str = "run"


class Average:
    def __init__(self, model):
        self.shadow = {name: one.detach().clone() for name, one in model.named_parameters()}
        self.calls = 3  # of an object that nobody knows: no number of the job


def a_job():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.register_buffer("scratch", torch.zeros(1), persistent=False)
    model[0].bias.requires_grad_(False)
    optimizer = torch.optim.Adam(
        [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 0.5}]
    )
    model(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    data = TensorDataset(torch.arange(8.0))
    sampler = DistributedSampler(data, 2, 0)
    return SimpleNamespace(
        model=model,
        wrapped=SimpleNamespace(again=model),
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 2),
        scaler=torch.amp.GradScaler("cpu"),
        loader=DataLoader(data, sampler=sampler, generator=torch.Generator()),
        average=Average(model),
        progress=Progress(),
        losses=[0.5, 0.25],
        generator=np.random.default_rng(3),
        python=random.Random(3),
        step=7,
        batches=iter([1, 2]),
        transform=lambda value: value,
    )


def test_everything_of_a_job_has_a_name():
    found = values_of(found_in(a_job()), is_whole=False)
    for name in (
        "model.0.weight", "model.1.running_mean", "model.scratch", "model.frozen", "model.in_evaluation_mode",
        "optimizer.exp_avg[0.weight]", "optimizer.step[1.bias]", "optimizer.groups[1].lr", "scheduler.last_epoch",
        "scaler.scale", "loader.sampler.epoch", "loader.generator", "average.shadow.0.weight", "progress.tokens",
        "losses[1]", "generator", "python", "step",
    ):  # fmt: skip
        assert name in found, name
    assert found["model.frozen"].told == "'0.bias'"
    assert found["progress.tokens"].told == "5"


def test_a_parameter_is_told_once_and_what_no_number_of_the_job_is_not_at_all():
    found = values_of(found_in(a_job()), is_whole=False)
    assert not [name for name in found if name.startswith("wrapped.again.0")]
    assert not [name for name in found if name.endswith("_step_count")]
    for name in ("average.calls", "batches", "transform", "optimizer.exp_avg[0.bias]"):
        assert name not in found


def test_only_what_a_load_must_restore_at_once_is_held_at_the_load():
    found = values_of(found_in(a_job()), is_whole=False)
    held = {name for name, value in found.items() if value.is_held}
    assert {"model.0.weight", "model.1.running_var", "optimizer.groups[0].lr", "scaler.scale"} <= held
    assert not held & {
        "step",
        "loader.sampler.epoch",
        "model.scratch",
        "average.shadow.0.weight",
        "model.frozen",
    }


def test_a_job_may_be_a_model_a_dict_or_an_object_of_its_own():
    class Own:
        def __init__(self):
            self.model = nn.Linear(1, 1)
            self._epoch = 2

    for job, names in (
        (nn.Linear(1, 1), {"model.weight", "model.bias"}),
        ({"model": nn.Linear(1, 1), "epoch": 3}, {"model.weight", "epoch"}),
        (Own(), {"model.weight", "_epoch"}),
    ):
        assert names <= {one.name for one in found_in(job)}


def test_wrappers_leave_no_trace_in_names():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self._orig_mod = nn.Linear(1, 1)

    assert {one.name for one in found_in({"model": Wrapper()})} >= {"model.weight", "model.bias"}


def test_values_are_the_same_only_bit_for_bit():
    zero, minus = torch.tensor([0.0]), torch.tensor([-0.0])
    assert value_of(zero) == value_of(zero.clone()) != value_of(minus)
    assert value_of(1) != value_of(1.0) != value_of(True)
    assert value_of(torch.ones(2, 2)) != value_of(torch.ones(4))
    assert value_of(lambda: None) is None
    whole = value_of(torch.arange(3), is_whole=True)
    assert np.frombuffer(whole.numbers).tolist() == [0.0, 1.0, 2.0]


def test_gradients_and_random_states_are_told_by_checksums():
    model = nn.Linear(1, 1)
    assert gradients_of({"model": model}) == ""
    model(torch.ones(1, 1)).sum().backward()
    assert gradients_of({"model": model}) != ""
    model.zero_grad(set_to_none=False)
    assert gradients_of({"model": model}) == ""
    before = streams()
    random.random(), np.random.rand(), torch.rand(1)
    assert all(before[name] != after for name, after in streams().items())
