"""What a load makes of one tree of files: in processes of its own, judged against what was saved."""
