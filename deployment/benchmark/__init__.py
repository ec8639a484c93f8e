"""Speed, size and accuracy of every backend of a model of your own: `python -m deployment.benchmark`."""
