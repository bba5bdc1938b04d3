"""Which trainers are built in, and where each is defined; found by name, imported when asked for.

    trainers.get("training,wrap=ddp")            the built-in training, with an option
    trainers.get("mymodel.train:MINE")           one of your own
    trainers.get("dcp,threads=2")                the built-in training, saved by that checkpointer

Guarantees: `get` imports the module that it is asked for, and nothing else does.  Every mistake is one ScenarioError.
"""

from __future__ import annotations

import sys
from typing import Any

from faultkit.checkpointers import state_kinds
from faultkit.checkpointers.catalogue import BUILT_IN as CHECKPOINTERS
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.requirements import require
from faultkit.checkpointers.trainer import Trainer
from faultkit.exceptions import ScenarioError
from faultkit.messages import seen
from faultkit.scenario_text import Names, find, values_of

__all__ = ["BUILT_IN", "get", "name_of", "takes_any_state", "trainer_of"]

BUILT_IN = Names("trainer", {"training": "faultkit.checkpointers.training:TRAINING"})


def get(text: str) -> Trainer:
    """The trainer that `text` names, which can run here.  Raises ScenarioError, with the nearest name there is."""
    name, found, options = find(text, Names(BUILT_IN.what, {**CHECKPOINTERS.homes, **BUILT_IN.homes}))
    if not isinstance(found, Trainer | Checkpointer):
        raise ScenarioError(
            f"trainer {seen(name)} must be a faultkit.Trainer, or a faultkit.Checkpointer that saves the built-in one "
            f"(got {seen(found)})"
        )
    return trainer_of(found.with_options(**values_of(options, dict(found.options))))


def trainer_of(work: Any) -> Trainer:
    """The trainer that `work` is: a text, a trainer, or a checkpointer, which then saves the built-in training.

    Raises ScenarioError.
    """
    if isinstance(work, str):
        return get(work)
    if isinstance(work, Checkpointer):
        from faultkit.checkpointers.training import TRAINING

        if not takes_any_state(work):
            raise ScenarioError(
                f"checkpointer {work.name!r} saves a state of its own, and no training; any_state=True says that it "
                "takes any, and another is 'dcp', for which the training hands over its state by get_state_dict"
            )
        work = TRAINING.saved_by(work)
    if not isinstance(work, Trainer):
        raise ScenarioError(
            f"a trainer must be a faultkit.Trainer, a faultkit.Checkpointer or the name of one (got {seen(work)})"
        )
    saver = work.saver
    if saver is not None:
        require(saver)
        saver.require_work("resume")
        if saver.server is not None:
            raise ScenarioError(
                f"checkpointer {str(saver)!r} stores by a server, where what each save left cannot be put back; "
                "name one that stores files, such as 'dcp'"
            )
    return work


def takes_any_state(checkpointer: Checkpointer) -> bool:
    """Whether it saves and loads the state of any training: as it says, or else where it has no state of its own."""
    if checkpointer.any_state is not None:
        return checkpointer.any_state
    return checkpointer.state in (None, state_kinds.state)


def name_of(trainer: Trainer) -> str:
    """A text by which a command finds `trainer`, where the module of its functions has it; else its own."""
    module = sys.modules.get(str(getattr(trainer.start, "__module__", "")))
    for name, value in list(vars(module).items()) if module is not None else []:
        if isinstance(value, Trainer) and value.name == trainer.name and value.start is trainer.start:
            built_in = f"{module.__name__}:{name}"  # type: ignore[union-attr]
            known = {home: short for short, home in BUILT_IN.homes.items()}
            return str(trainer).replace(trainer.name, known.get(built_in, built_in), 1)
    return str(trainer)
