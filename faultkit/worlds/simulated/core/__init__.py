"""One thread runs at a time, and a policy says which: the scheduler, its clock, and what waits in it."""
