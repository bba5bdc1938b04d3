"""What became of a run: frozen values, read by checks and reports.

`Outcome` is the fate of one rank, `Event` what a rank recorded, `Run` all of it; `replay_command` is the line that
brings a run back, `selection` which promises count for it.  Nothing here imports torch or starts anything.
"""
