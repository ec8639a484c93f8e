"""What the training loop can train, a file for each task."""
