"""A run folder: its lock, logs and state, and how a run goes on exactly where it stopped."""
