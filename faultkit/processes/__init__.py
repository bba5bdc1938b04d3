"""Processes that are born, watched and ended: the fork server, the channel to it, what they share and leave behind.

`client` starts the `server`, which forks what it is told to; `channel` and `serialization` carry messages, `memory` is
shared with a process that may die, `procfs` and `py_spy` look at one that does not answer, `slots` share the machine's
cores, `directories` and `subreaper` see to it that nothing is left.  It knows nothing of ranks, plans or checks.
"""
