"""The built-in training with one mistake at its load, such as only a loader, a sampler or another world shows.

And a checkpointer with one.
"""

from faultkit import Checkpointer, Trainer
from faultkit.checkpointers.engines import dcp
from faultkit.checkpointers.training import TRAINING
from faultkit.checkpointers.training_job import TrainingJob

GLOBAL_BATCH = 12


class WrongJob(TrainingJob):
    def __init__(self, rank, world_size, wrong):
        super().__init__(rank, world_size, GLOBAL_BATCH, wrap="ddp", amp=False)
        self.wrong = wrong

    def load_state_dict(self, state):
        super().load_state_dict(state)
        position = state["position"]
        if self.wrong == "counts_batches_of_a_rank":
            self.batch = self.batch * position["ranks"] // self.world_size % 4
        if self.wrong == "moments_of_another_world_begin_anew" and position["ranks"] != self.world_size:
            for of in self.optimizer.state.values():
                of["exp_avg"].zero_()
        if self.wrong == "forgets_set_epoch":
            self.sampler.set_epoch = lambda epoch: None
        if self.wrong == "loader_before_random_states":
            iter(self.loader)  # draws from torch's random state after it was restored


def start(rank, world_size, wrong="nothing"):
    return WrongJob(rank, world_size, wrong)


WRONG = Trainer(
    name="wrong", start=start, step=TRAINING.step, checkpointer="dcp", options=(("wrong", "nothing"),)
)


def save(state, directory, step):
    dcp.save(state, directory, step)


def load(state, directory, defect="none"):
    found = dcp.load(state, directory)
    if defect == "moments_are_lost":
        for name, one in state["optimizer"]["state"].items():
            one["exp_avg"] = one["exp_avg"] * 0 if name == "0.weight" else one["exp_avg"]
    return found


STOCK = Checkpointer(name="stock", save=save, load=load, options=(("defect", "none"),))
