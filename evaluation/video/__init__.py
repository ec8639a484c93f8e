"""How well lesions are found in videos, in time: `python -m evaluation.video`."""
