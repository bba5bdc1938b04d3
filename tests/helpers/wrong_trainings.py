"""The built-in training with one mistake at its load, of those that only a loader, a sampler or another world shows."""

from faultkit import Trainer
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
