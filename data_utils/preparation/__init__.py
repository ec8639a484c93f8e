"""What `python -m data_utils.prepare` does: `run.py` has the steps in order, the other modules are their tools."""
