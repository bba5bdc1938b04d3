"""What brings a finding back: files that are kept, and scripts that need torch alone."""
