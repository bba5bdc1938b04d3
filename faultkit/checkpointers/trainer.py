"""`Trainer`: a training that can be killed and resumed, as one value of four functions.

    MINE = Trainer(
        name="mine",
        start=start,      # (rank, world_size) -> job: model, optimizer, data and all, as when the script begins
        step=step,        # (job) -> what the step gave: a loss, or several numbers by name
        save=save,        # (job, directory, step) on every rank; may return a handle with .result(timeout=)
        load=load,        # (job, directory) on every rank; returns the step, None: nothing there
    )

A job that hands its state over itself, by `state_dict` and `load_state_dict`, needs neither `save` nor `load`: any
`Checkpointer` can save it.

    MINE = Trainer(name="mine", start=Job, step=Job.step, checkpointer="dcp")

Guarantees: a frozen value; making one calls none of its functions and imports nothing.  A mistake is one
ScenarioError.  Not covered: how a resumed job is compared (`faultkit.resume`), and which are found by name
(`faultkit.checkpointers.trainers`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from faultkit.checkpointers import catalogue, rank_work
from faultkit.checkpointers.checkpointer import NAME, Checkpointer
from faultkit.exceptions import ScenarioError
from faultkit.messages import seen
from faultkit.plan.signatures import taken
from faultkit.scenario_text import chosen_from, text_of

__all__ = ["Trainer"]

Option = str | int | float | bool

OPTIONAL = ("save", "load", "state", "check")


class Trainer(msgspec.Struct, frozen=True, kw_only=True):
    """How a job is started, trained by a step, saved and loaded.

    Every function is called on every rank, in a process group, and gets those of `options` that it takes, as keywords.
    `directory` is a `pathlib.Path` that exists and is the job's alone.

    Args:
        name: as it is told in reports; letters, digits, "-" and "_".
        start: ``start(rank, world_size)`` gives the job as it is when the script begins: any object that holds model,
            optimizer, scheduler, data and so on as attributes or items.
        step: ``step(job)`` trains by one step, and gives what is to be the same in a job that was resumed: a number, or
            a mapping of names to numbers, tensors and texts.  Under ``samples`` it may say on which samples it trained
            (numbers or texts), where they do not come from a `torch.utils.data.DataLoader`.
        save: ``save(job, directory, step)`` writes the checkpoint after `step` steps (an int from 1 on); as `save` of a
            `Checkpointer` is acknowledged.
        load: ``load(job, directory)`` loads the newest checkpoint into a job that was just started, and returns its
            step; None where there is none.
        state: ``state(job)`` gives all that must be the same after a load, as nested dicts and lists of tensors,
            numbers and texts.  None: what is found in the job (`docs/resume.md`).
        checkpointer: what saves and loads instead of `save` and `load`: a `Checkpointer` or its name.  The job then has
            ``state_dict()`` and ``load_state_dict(state)``, as torch.distributed.checkpoint asks of what is stateful.
        ignore: globs over names of what need not be the same, such as ``"meter.*"``.
        reshards: whether what N ranks saved can be resumed by another number of them.
        summary: one line for lists.
        preload: modules that ranks need, imported once for all of them.
        options: pairs of name and default.
        chosen: those that were set by `with_options`.
        check: called with the keyword ``world_size`` and the options before anything runs; it returns what is wrong
            with them, or nothing.
        no_check: promises that do not count, by the names of their checks.

    Raises:
        ScenarioError: a field is not what it should be.
    """

    name: str
    start: Callable[..., Any]
    step: Callable[..., Any]
    save: Callable[..., Any] | None = None
    load: Callable[..., Any] | None = None
    state: Callable[..., Any] | None = None
    checkpointer: Checkpointer | str | None = None
    ignore: tuple[str, ...] = ()
    reshards: bool = True
    summary: str = ""
    preload: tuple[str, ...] = ()
    options: tuple[tuple[str, Option], ...] = ()
    chosen: tuple[tuple[str, Option], ...] = ()
    check: Callable[..., str] | None = None
    no_check: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or set(self.name) - set(NAME):
            raise ScenarioError(
                f"trainer: name must be letters, digits, '-' and '_', such as 'mine' (got {seen(self.name)})"
            )
        for field in ("start", "step", *OPTIONAL):
            value = getattr(self, field)
            if not callable(value) and not (field in OPTIONAL and value is None):
                raise ScenarioError(f"trainer {self.name!r}: {field} must be a function (got {seen(value)})")
        if not isinstance(self.checkpointer, Checkpointer | str | None):
            raise ScenarioError(
                f"trainer {self.name!r}: checkpointer must be a Checkpointer or its name "
                f"(got {seen(self.checkpointer)})"
            )
        own = self.save is not None, self.load is not None
        if self.checkpointer is None and own != (True, True):
            raise ScenarioError(
                f"trainer {self.name!r} must have save and load, or a checkpointer (got "
                f"{'neither' if not any(own) else 'save alone' if own[0] else 'load alone'})"
            )
        if self.checkpointer is not None and any(own):
            raise ScenarioError(
                f"trainer {self.name!r} must have save and load, or a checkpointer, and not both; leave out one of them"
            )
        if isinstance(self.ignore, str) or not all(isinstance(one, str) for one in self.ignore):
            raise ScenarioError(
                f"trainer {self.name!r}: ignore must be a tuple of globs (got {seen(self.ignore)})"
            )

    def __str__(self) -> str:
        return text_of(self.name, dict(self.chosen))

    def __repr__(self) -> str:
        return f"Trainer(name={str(self)!r})"

    @property
    def keywords(self) -> dict[str, Option]:
        """The options as keyword arguments."""
        return {**dict(self.options), **dict(self.chosen)}

    @property
    def saver(self) -> Checkpointer | None:
        """The checkpointer, where one saves and loads.  Raises ScenarioError where there is none of that name."""
        return catalogue.find(self.checkpointer) if isinstance(self.checkpointer, str) else self.checkpointer

    @property
    def can_reshard(self) -> bool:
        """Whether another number of ranks can resume."""
        saver = self.saver
        return self.reshards and (saver is None or saver.reshards)

    @property
    def modules(self) -> tuple[str, ...]:
        """What ranks import once for all of them: `preload`, and the modules of its functions."""
        own = [getattr(function, "__module__", "") for function in (self.start, self.step)]
        saver = self.saver
        every = (*self.preload, *own, *(saver.modules if saver is not None else ()))
        return tuple(dict.fromkeys(name for name in every if name and name != "__main__"))

    def with_options(self, **values: Option) -> Trainer:
        """The same with other options.  Raises ScenarioError for an unknown one or a wrong type."""
        defaults = dict(self.options)
        chosen = {**dict(self.chosen), **chosen_from(self.name, defaults, values)}
        kept = tuple(
            (name, chosen[name]) for name in defaults if chosen.get(name, defaults[name]) != defaults[name]
        )
        return msgspec.structs.replace(self, chosen=kept)

    def saved_by(self, checkpointer: Checkpointer | str) -> Trainer:
        """The same, saved and loaded by `checkpointer`.  Raises ScenarioError where it saves and loads itself."""
        return msgspec.structs.replace(self, checkpointer=checkpointer)

    def to_checkpointer(self) -> Checkpointer:
        """The same as a checkpointer, which every campaign takes (`faultkit.checkpointers.trained`)."""
        from faultkit.checkpointers.trained import checkpointer_of

        return checkpointer_of(self)

    def wrong_for(self, world_size: int) -> str:
        """What is wrong with the options on so many ranks; empty where nothing is."""
        saver = self.saver
        wrong = self.check(world_size=world_size, **self.keywords) if self.check is not None else ""
        if not wrong and saver is not None and saver.check is not None:
            wrong = saver.check(world_size=world_size, **saver.keywords)
        return wrong

    def validate_for(self, world_size: int) -> None:
        """Raises ScenarioError where the options cannot be meant on so many ranks."""
        if wrong := self.wrong_for(world_size):
            raise ScenarioError(f"trainer {str(self)!r}: {wrong}")

    # -- on a rank -----------------------------------------------------------------------------------------

    def started(self, rank: int, world_size: int) -> Any:
        """A new job."""
        return self.start(rank, world_size, **taken(self.start, self.keywords, 2))

    def stepped(self, job: Any) -> Any:
        """What the next step of `job` gives."""
        return self.step(job, **taken(self.step, self.keywords, 1))

    def saved(self, job: Any, directory: Path, step: int) -> Any:
        """Begin to save `job`: what its save gives, which `rank_work.finish` waits for."""
        saver = self.saver
        if saver is not None:
            return rank_work.call(saver, saver.save, job.state_dict(), directory, step)
        assert self.save is not None
        return self.save(job, directory, step, **taken(self.save, self.keywords, 3))

    def loaded(self, job: Any, directory: Path) -> Any:
        """Load the newest checkpoint into `job`: its step, None where there is none."""
        saver = self.saver
        if saver is not None:
            state = job.state_dict()
            step = rank_work.call(saver, saver.load, state, directory)
            if step is not None:
                job.load_state_dict(state)
            return step
        assert self.load is not None
        return self.load(job, directory, **taken(self.load, self.keywords, 2))
