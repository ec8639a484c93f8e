"""What an evaluation says: as text (`python -m evaluation.report`), and as one self-contained page."""
