"""Which trees of files a crash could leave: from a recording to the finite set of states of each model."""
