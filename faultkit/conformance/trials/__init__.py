"""What puts promises to the test: one kind of trial per file, each done in units of a few seconds at most.

Every trial has `name`, `share` (of the time), `promises` that it serves, and

    units()             a generator: each step does one unit, and gives the violations that it found
    efforts(promise)    how much of what it has tried for that promise so far
    pids()              the processes that work for it, which may be killed where nobody wants to wait
    close()             ends all that it started

so that whoever runs several of them (`faultkit.conformance.battery`) may turn from one to the other and stop between
any two units.  Importing this package imports no torch.
"""
