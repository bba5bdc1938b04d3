"""The built-in checkpointers, one module for each engine and way to use it; `catalogue` has their names.

Guarantees: importing one imports no engine, and no torch.  Not covered: what several of them are made of
(`faultkit.checkpointers.parts`).
"""
