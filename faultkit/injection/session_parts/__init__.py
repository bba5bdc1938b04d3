"""What a session is made of: the plan by where it strikes, threads, what was recovered from, which one is armed."""
