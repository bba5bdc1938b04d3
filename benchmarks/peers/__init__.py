"""The other ways: what a project has for tests on several ranks when it has no faultkit.

Each module is one runner and gives the wall-clock seconds of a fixed job, so that a ratio can be taken
on the machine at hand; a number from another machine says nothing.  All do the same faulted save on four
gloo ranks (`workload`), and all run one computing thread per process: four ranks with a thread per core
each would measure the scheduler.

``spawn``                   `torch.multiprocessing.spawn`, one save
``fork_loop``               bare `os.fork` and a loop by hand: the floor, the engine and little else
``continuous``              torch's `MultiProcContinuousTest`, sixty tests
``multiprocess_testcase``   torch's `MultiProcessTestCase`, three tests
``death_continuous``        a rank that dies in `MultiProcContinuousTest`: seconds until that is noticed
``ckpt_chaos``              another job: the tool of that name, which crashes whole scripts (`benchmarks.crash_scripts`)

Each runs alone, too: ``python -m benchmarks.peers.spawn``.
"""

import os

# Here, because it has to stand before the first import of torch; child processes inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
