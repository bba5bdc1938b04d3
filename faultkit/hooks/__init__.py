"""Where code of torch.distributed is replaced for a while: `patches` for any attribute, `collectives` for what ranks
wait for, `gloo_threads` for the name of a thread.
"""
