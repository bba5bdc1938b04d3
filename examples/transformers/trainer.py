"""transformers: `Trainer` saves a folder for each step, and resumes from `get_last_checkpoint`.

faultkit crash examples.transformers.trainer:TRANSFORMERS.resume --world 1
faultkit history examples.transformers.trainer:TRANSFORMERS --world 1
"""

from __future__ import annotations

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from faultkit import Checkpointer

CONFIG = BertConfig(
    vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4
)
DATA = [{"input_ids": torch.arange(4), "labels": 0}] * 4


def make_state(step, rank, world_size):
    model = BertForSequenceClassification(CONFIG)
    return {name: torch.full_like(value, step) for name, value in model.state_dict().items()}


class Step(TrainerCallback):
    """A training of one step: it comes to `state` and is saved, or else to `state` comes what was resumed from."""

    def __init__(self, state, step=None):
        self.state, self.step = state, step

    def on_train_begin(self, args, state, control, model=None, **_):
        if self.step is None:
            for name, value in model.state_dict().items():
                self.state[name].copy_(value)

    def on_step_end(self, args, state, control, model=None, **_):
        control.should_training_stop = True
        if self.step is not None:
            model.load_state_dict(self.state)
            state.global_step = self.step
            control.should_save = True


def trainer(directory, callback):
    arguments = TrainingArguments(
        str(directory),
        max_steps=100,
        save_strategy="no",
        save_total_limit=2,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
    )
    model = BertForSequenceClassification(CONFIG)
    return Trainer(model, arguments, train_dataset=DATA, callbacks=[callback])


def save(state, directory, step):
    trainer(directory, Step(state, step)).train()


def load(state, directory):
    last = get_last_checkpoint(directory)
    if last is None:
        return None
    trainer(directory, Step(state)).train(resume_from_checkpoint=last)
    return int(last.rpartition("-")[2])


def steps(directory):
    return sorted(int(path.name.rpartition("-")[2]) for path in directory.glob("checkpoint-*"))


TRANSFORMERS = Checkpointer(
    name="transformers",
    save=save,
    load=load,
    steps=steps,
    state=make_state,
    points=("fs.*",),
    load_points=("fs.*",),
    requires=("transformers>=5.24", "accelerate>=1.15"),
)
