"""The steps of `python -m deployment.benchmark`."""
