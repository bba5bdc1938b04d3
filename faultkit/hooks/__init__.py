"""What is replaced in torch.distributed: `collectives` is the one source of its events.

`thread_states` is the listener of every rank; the recorder and the counter of traffic are others.  `gloo_threads` gives
a thread its name.
"""
