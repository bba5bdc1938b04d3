"""The engine, torch.distributed.checkpoint, under a plan: its attempts, its steps, and what it works with."""
