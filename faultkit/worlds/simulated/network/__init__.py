"""The wire between simulated ranks: gloo's algorithms message by message, groups, works and stores."""
