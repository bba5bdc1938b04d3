"""What several built-in checkpointers are made of: directories of steps, decisions of rank 0, stagers, groups, ways to
write a file.

Guarantees: nothing here knows a checkpointer.  Not covered: the states that they save (`state_kinds`, `application`).
"""
