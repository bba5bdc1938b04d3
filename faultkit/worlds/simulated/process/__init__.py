"""What a process has once, and simulated ranks have each: environment, directory, output, signals, identity."""
