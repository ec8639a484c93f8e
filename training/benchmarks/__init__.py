"""Measurements behind `python -m training.benchmark`."""
