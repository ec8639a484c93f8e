"""Losses, optimiser, averaging, checkpoints and the training loop."""
