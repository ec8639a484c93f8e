"""How far a detector bears bad frames and other sources: `python -m evaluation.robustness`."""
