"""Trainings as people write them, for tools that crash whole scripts.  Each takes its directory as ``--out``."""
